package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. It is written with a unit: 10MB is ten million
// bytes and 10MiB is 10 × 1024 × 1024; a number alone is bytes.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"ki", 1 << 10}, {"mi", 1 << 20}, {"gi", 1 << 30}, {"ti", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"t", 1e12}, {"b", 1},
}

// ParseSize reads a size.
func ParseSize(s string) (Size, error) {
	text, unit := strings.ToLower(strings.TrimSpace(s)), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0) || v*float64(unit) > math.MaxInt64/2 || strings.ContainsAny(text, "xpn_") {
		return 0, fmt.Errorf("want a size such as 10MiB or 10MB, got %s", quote(s))
	}
	return Size(v * float64(unit)), nil
}

// String prints the size in the largest unit that divides it.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + []string{"KiB", "MiB", "GiB", "TiB"}[i]
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Rate is a number of events in a time. The zero Rate is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// ParseRate reads a rate such as 1000/min.
func ParseRate(s string) (Rate, error) {
	bad := fmt.Errorf("want a rate such as 1000/min or 20/s, got %s", quote(s))
	count, per, ok := strings.Cut(strings.ReplaceAll(s, " ", ""), "/")
	if !ok {
		return Rate{}, bad
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return Rate{}, bad
	}
	switch strings.ToLower(per) {
	case "s", "sec", "second":
		return Rate{n, time.Second}, nil
	case "m", "min", "minute":
		return Rate{n, time.Minute}, nil
	case "h", "hour":
		return Rate{n, time.Hour}, nil
	}
	return Rate{}, bad
}

// String prints the rate, or nothing for no limit.
func (r Rate) String() string {
	switch r.Per {
	case time.Second:
		return strconv.Itoa(r.Count) + "/s"
	case time.Minute:
		return strconv.Itoa(r.Count) + "/min"
	case time.Hour:
		return strconv.Itoa(r.Count) + "/h"
	}
	return ""
}

// set parses text into the value that dst points to. The value is left alone
// when the text is wrong.
func set(dst any, text string) error {
	trimmed := strings.TrimSpace(text)
	switch d := dst.(type) {
	case *string:
		*d = trimmed
	case *Secret:
		d.text = trimmed
	case *int:
		n, err := strconv.Atoi(trimmed)
		if err != nil {
			return fmt.Errorf("want a whole number, got %s", quote(text))
		}
		*d = n
	case *float64:
		v, err := strconv.ParseFloat(trimmed, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("want a number, got %s", quote(text))
		}
		*d = v
	case *bool:
		switch strings.ToLower(trimmed) {
		case "true", "1", "yes", "on":
			*d = true
		case "false", "0", "no", "off":
			*d = false
		default:
			return fmt.Errorf("want true or false, got %s", quote(text))
		}
	case *time.Duration:
		if v, err := strconv.ParseFloat(trimmed, 64); err == nil && v >= 0 && v < 1e9 {
			*d = time.Duration(v * float64(time.Second))
			return nil
		}
		v, err := time.ParseDuration(trimmed)
		if err != nil {
			return fmt.Errorf("want a time such as 100ms or 5s, got %s", quote(text))
		}
		*d = v
	case *Size:
		v, err := ParseSize(text)
		if err != nil {
			return err
		}
		*d = v
	case *Rate:
		v, err := ParseRate(text)
		if err != nil {
			return err
		}
		*d = v
	case *[]string:
		var list []string
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		*d = list
	default:
		panic(fmt.Sprintf("config: a setting of type %T", dst))
	}
	return nil
}

// format prints a value as it would be written.
func format(dst any) string {
	switch d := dst.(type) {
	case *string:
		return *d
	case *Secret:
		return d.String()
	case *int:
		return strconv.Itoa(*d)
	case *float64:
		return strconv.FormatFloat(*d, 'g', -1, 64)
	case *bool:
		return strconv.FormatBool(*d)
	case *time.Duration:
		return d.String()
	case *Size:
		return d.String()
	case *Rate:
		return d.String()
	case *[]string:
		return strings.Join(*d, ",")
	}
	return ""
}

func typeName(dst any) string {
	switch dst.(type) {
	case *int:
		return "integer"
	case *float64:
		return "number"
	case *bool:
		return "boolean"
	case *time.Duration:
		return "time"
	case *Size:
		return "size"
	case *Rate:
		return "rate"
	case *[]string:
		return "list"
	case *Secret:
		return "secret"
	}
	return "text"
}

// quote quotes at most 80 bytes of s.
func quote(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q...", s[:80])
	}
	return fmt.Sprintf("%q", s)
}
