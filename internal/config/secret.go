package config

import "log/slog"

// Secret is text that must not appear in a log, an answer or an error. Every
// way of printing it prints a stand-in.
type Secret struct{ text string }

const redacted = "(set)"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.text }

// String returns a stand-in, or nothing for an empty secret.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return redacted
}

// GoString keeps the text out of %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps the text out of JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue keeps the text out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
