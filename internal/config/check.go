package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/machine"
	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

func between(v *int, low, high int) func() error {
	return func() error {
		if *v < low || *v > high {
			return fmt.Errorf("want %d to %d, got %d", low, high, *v)
		}
		return nil
	}
}

func sized(v *Size, low, high Size) func() error {
	return func() error {
		if *v < low || *v > high {
			return fmt.Errorf("want %s to %s, got %s", low, high, *v)
		}
		return nil
	}
}

func fraction(v *float64) func() error {
	return func() error {
		if *v <= 0 || *v > 1 {
			return fmt.Errorf("want more than 0 and at most 1, got %v", *v)
		}
		return nil
	}
}

// The longest and shortest time of a setting that must not be off.
const (
	shortest = time.Millisecond
	longest  = time.Hour
)

func lasting(v *time.Duration) func() error {
	return func() error {
		if *v < shortest || *v > longest {
			return fmt.Errorf("want %v to %v, got %v", shortest, longest, *v)
		}
		return nil
	}
}

// longestDelay is the most that a request may be held up for the sake of others.
const longestDelay = 100 * time.Millisecond

func delaying(v *time.Duration) func() error {
	return func() error {
		if *v < 0 || *v > longestDelay {
			return fmt.Errorf("want 0s to %v, got %v", longestDelay, *v)
		}
		return nil
	}
}

// mostDays is the longest time that sessions and what clients carry are kept.
const mostDays = 30 * 24 * time.Hour

func days(v *time.Duration) func() error {
	return func() error {
		if *v < time.Second || *v > mostDays {
			return fmt.Errorf("want %v to %v, got %v", time.Second, mostDays, *v)
		}
		return nil
	}
}

func upTo(v *time.Duration) func() error {
	return func() error {
		if *v < 0 || *v > longest {
			return fmt.Errorf("want 0s to %v, got %v", longest, *v)
		}
		return nil
	}
}

func oneOf(v *string, allowed ...string) func() error {
	return func() error {
		*v = strings.ToLower(*v)
		if !slices.Contains(allowed, *v) {
			return fmt.Errorf("want one of %s, got %s%s", strings.Join(allowed, ", "), quote(*v), didYouMean(*v, allowed))
		}
		return nil
	}
}

// engine takes the plan's former name as well.
func engine(v *string) func() error {
	check := oneOf(v, "plan", "onnxruntime", "auto")
	return func() error {
		if strings.EqualFold(*v, "native") {
			*v = "plan"
		}
		return check()
	}
}

// didYouMean returns a suggestion that can be put behind a message, or "".
func didYouMean(s string, known []string) string {
	if near := spelling.Nearest(s, known); near != "" {
		return ", did you mean " + near + "?"
	}
	return ""
}

// level also takes the names that Python's logging has for the same levels.
func level(v *string) func() error {
	names := map[string]string{"warning": "warn", "critical": "error", "fatal": "error", "trace": "debug"}
	check := oneOf(v, "debug", "info", "warn", "error")
	return func() error {
		if name, ok := names[strings.ToLower(*v)]; ok {
			*v = name
		}
		return check()
	}
}

func short(v *string, limit int) func() error {
	return func() error {
		if len(*v) > limit {
			return fmt.Errorf("want at most %d bytes, got %d", limit, len(*v))
		}
		return nil
	}
}

// version refuses what could be no version of any folder, before a path is
// made of it.
func version(v *string) func() error {
	return func() error {
		if len(*v) > 64 || strings.Contains(*v, "..") || strings.ContainsAny(*v, "/\\\x00\n") {
			return fmt.Errorf("want a version such as v0.1.0, latest, stable or a constraint, got %s", quote(*v))
		}
		return nil
	}
}

func secretText(v *Secret) func() error {
	return func() error { return headerText(v.text) }
}

func headerText(s string) error {
	for _, c := range s {
		if c < 0x21 || c > 0x7e {
			return errors.New("want printable ASCII without blanks: it has to fit in a header")
		}
	}
	return nil
}

func hostname(v *string) func() error {
	return func() error {
		if path, ok := strings.CutPrefix(*v, unixScheme); ok {
			return socketPath(path)
		}
		host := strings.TrimSuffix(strings.TrimPrefix(*v, "["), "]")
		if host == "" || host == "*" {
			return fmt.Errorf("want an address such as 127.0.0.1 or 0.0.0.0, or unix:///path, got %s", quote(*v))
		}
		if _, err := netip.ParseAddr(host); err != nil && !isHostname(host) {
			hint := ""
			if strings.ContainsAny(host, ":/") {
				hint = " (the port has a setting of its own)"
			}
			return fmt.Errorf("want an address such as 127.0.0.1 or 0.0.0.0, or unix:///path, got %s%s", quote(*v), hint)
		}
		*v = host
		return nil
	}
}

func isHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func hosts(v *[]string) func() error {
	return func() error {
		for i, h := range *v {
			if h == "*" {
				continue
			}
			name := strings.TrimPrefix(h, "*.")
			if strings.Contains(h, "://") {
				return fmt.Errorf("entry %d: want a name without a scheme, got %s", i+1, quote(h))
			}
			addr := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
			if _, err := netip.ParseAddr(addr); err == nil {
				continue
			}
			if !isHostname(name) {
				return fmt.Errorf("entry %d: want a name such as example.com or *.example.com, without a port, got %s", i+1, quote(h))
			}
		}
		return nil
	}
}

func origins(v *[]string) func() error {
	return func() error {
		for i, o := range *v {
			if o == "*" {
				continue
			}
			u, err := url.Parse(o)
			switch {
			case err != nil || u.Scheme == "" || u.Host == "" || u.User != nil:
				return fmt.Errorf("entry %d: want an origin such as https://example.com, got %s", i+1, quote(o))
			case u.Path != "" || u.RawQuery != "" || u.Fragment != "":
				return fmt.Errorf("entry %d: want an origin without a path: %s://%s, got %s", i+1, u.Scheme, u.Host, quote(o))
			case u.Scheme != "http" && u.Scheme != "https":
				return fmt.Errorf("entry %d: want http or https, got %s", i+1, quote(o))
			}
		}
		return nil
	}
}

// cores checks what the process is to keep to.
func cores(v *string) func() error {
	return func() error {
		if *v == machine.PinOff || *v == machine.PinAuto {
			return nil
		}
		if _, err := machine.ParseCores(*v); err != nil {
			return fmt.Errorf("want off, auto or a list of cores such as 2,4-7, got %s", quote(*v))
		}
		return nil
	}
}
