package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// keyCmd makes keys.
type keyCmd struct {
	New keyNewCmd `cmd:"" help:"Draw a key and print it, once, with its line for security.keys_file."`
}

// keyNewCmd draws a key.
type keyNewCmd struct {
	Name    string   `required:"" placeholder:"NAME" help:"What the key is called in logs: who it is for."`
	Scope   []string `placeholder:"SCOPE" default:"infer" help:"What it is good for: infer, metrics, admin; several with commas. admin has the others in it. Default: infer."`
	Rate    string   `placeholder:"RATE" help:"What it may send, such as 1000/min. Default: security.rate_limit."`
	Expires string   `placeholder:"WHEN" help:"When it ends: a date such as 2030-01-31, a time of RFC 3339, or from now 90d or 12h. Default: never."`
	Cert    string   `placeholder:"NAME" help:"Draw no key: clients whose certificate has this name (URI, DNS, mail or common name) are taken for it."`
	Append  string   `placeholder:"FILE" help:"Append the line to this file, which is made where it is not there, and print the key only."`
}

// Help gives examples.
func (c *keyNewCmd) Help() string {
	return `Examples:
  carla-rl key new --name robot-7
  carla-rl key new --name prometheus --scope metrics --append keys
  carla-rl key new --name ops --scope admin --expires 90d --append keys
  carla-rl key new --name robot-8 --cert robot-8.fleet.example --append keys

The file has the hash of the key alone: what is printed here cannot be had again.
To rotate a key append one of another name, hand it out, and take the old line away;
a running server reads the file within security.reload_interval.`
}

// keyBytes are what a key is drawn of: 256 bits, so that its hash needs no salt.
const keyBytes = 32

// Run draws and prints.
func (c *keyNewCmd) Run(s stdio) error {
	k, err := c.parse(time.Now())
	if err != nil {
		return usage(err)
	}
	if k.Certificate != "" {
		if c.Append == "" {
			fmt.Fprintf(s.out, "line: %s\n", k)
			return nil
		}
		return appendKey(c.Append, k)
	}
	drawn := make([]byte, keyBytes)
	_, _ = rand.Read(drawn) // never fails
	text := "crl_" + base64.RawURLEncoding.EncodeToString(drawn)
	k.Hash = config.HashKey(text)
	if c.Append == "" {
		fmt.Fprintf(s.out, "key:  %s\nline: %s\n", text, k)
		return nil
	}
	if err := appendKey(c.Append, k); err != nil {
		return err
	}
	fmt.Fprintln(s.out, text)
	return nil
}

func (c *keyNewCmd) parse(now time.Time) (k config.Key, err error) {
	k.Name = c.Name
	if err := config.KeyName(k.Name); err != nil {
		return k, fmt.Errorf("--name: %w", err)
	}
	if k.Scopes, err = config.ParseScopes(strings.Join(c.Scope, ",")); err != nil {
		return k, fmt.Errorf("--scope: %w", err)
	}
	if k.Certificate = c.Cert; c.Cert != "" {
		if _, err := config.ParseKey(k.String()); err != nil {
			return k, fmt.Errorf("--cert: %w", err)
		}
	}
	if c.Rate != "" {
		if k.Rate, err = config.ParseRate(c.Rate); err != nil {
			return k, fmt.Errorf("--rate: %w", err)
		}
	}
	if c.Expires != "" {
		if k.Expires, err = expiry(c.Expires, now); err != nil {
			return k, fmt.Errorf("--expires: %w", err)
		}
	}
	return k, nil
}

// expiry reads when a key ends.
func expiry(s string, now time.Time) (time.Time, error) {
	span := s
	if days, ok := strings.CutSuffix(s, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		if err == nil && d > 0 {
			return now.Add(24 * d).UTC().Truncate(time.Second), nil
		}
	}
	if d, err := time.ParseDuration(span); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := config.ParseExpiry(s)
	if err == nil && !t.After(now) {
		err = fmt.Errorf("want a time to come, got %s", s)
	}
	return t, err
}

// appendKey adds a line to a file of keys, which must be one and have no key of
// that name.
func appendKey(name string, k config.Key) error {
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := string(data)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	text += k.String() + "\n"
	if _, err := config.ParseKeys(text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text[len(data):])
	return errors.Join(err, f.Close())
}
