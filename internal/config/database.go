package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// errDatabaseURL says what a URL may be. The URL itself is not repeated: it may
// hold a password.
var errDatabaseURL = errors.New("want sqlite:///path/of/a/file.db, postgres://user@host/database, or the path of a file")

// databaseURL checks the form of a URL: whether there is a database is found
// out when it is opened.
func databaseURL(v *Secret) func() error {
	return func() error { return checkDatabaseURL(v.text) }
}

func checkDatabaseURL(url string) error {
	if url == "" {
		return nil
	}
	scheme, rest, ok := strings.Cut(url, ":")
	driver, _, _ := strings.Cut(strings.ToLower(scheme), "+")
	switch {
	case strings.ContainsAny(url, "\n\r\x00"):
		return errDatabaseURL
	case !ok || strings.Contains(scheme, "/"):
		return nil // a path
	}
	switch driver {
	case "postgres", "postgresql":
		if strings.HasPrefix(rest, "//") {
			return nil
		}
	case "sqlite", "sqlite3", "file":
		if strings.Contains(rest, ":memory:") {
			return errors.New("a database in memory keeps nothing: want a file, such as sqlite:///app/logs/experience.db")
		}
		if path := strings.TrimLeft(rest, "/"); path != "" && !strings.HasSuffix(path, "/") {
			return nil
		}
	}
	return errDatabaseURL
}

// DatabaseURL returns database.url, or what database.url_file holds, which is
// read anew; "" where there is neither.
func (c *Config) DatabaseURL() (string, error) {
	d := &c.Database
	if d.URLFile == "" {
		return d.URL.Reveal(), nil
	}
	if d.URL.Reveal() != "" {
		return "", errors.New("database.url is set too: want one of the two")
	}
	data, err := readFile(d.URLFile)
	if err != nil {
		return "", fmt.Errorf("%s: %w", d.URLFile, reason(err))
	}
	url := strings.TrimSpace(string(data))
	if url == "" {
		return "", fmt.Errorf("%s holds no URL", d.URLFile)
	}
	if err := checkDatabaseURL(url); err != nil {
		return "", fmt.Errorf("%s: %w", d.URLFile, err)
	}
	return url, nil
}

// checkDatabase looks at the file of the URL.
func (l *loader) checkDatabase() {
	const key = "database.url_file"
	if l.c.Database.URLFile == "" {
		return
	}
	if _, err := l.c.DatabaseURL(); err != nil {
		l.fail(l.c.Source(key), key, err)
	}
}

// longestKept is the greatest age of steps that can be asked for.
const longestKept = 100 * 365 * 24 * time.Hour

func keeping(v *time.Duration) func() error {
	return func() error {
		if *v != 0 && (*v < time.Second || *v > longestKept) {
			return fmt.Errorf("want 0s, or %v to %v, got %v", time.Second, longestKept, *v)
		}
		return nil
	}
}
