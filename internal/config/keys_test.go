package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

func TestSecretsAreNotPrinted(t *testing.T) {
	const key, url = "s3cr3t-key", "postgres://user:passw0rd@db/x"
	c, notes := load(t, config.Options{Environ: []string{"API_KEY=" + key, "DATABASE_URL=" + url, "HOST=0.0.0.0"}})
	if c.Security.APIKey.Reveal() != key || c.Database.URL.Reveal() != url || !c.HasKey() {
		t.Error("the secrets were not read")
	}
	marshalled, err := json.Marshal(c.Security.APIKey)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprint(c, c.Values(), notes, c.Security.APIKey, string(marshalled)) + fmt.Sprintf("%+v %#v %v %s", c.Security, c.Security.APIKey, c.Database.URL, c.Security.APIKey.LogValue())
	for _, secret := range []string{key, url, "passw0rd"} {
		if strings.Contains(printed, secret) {
			t.Errorf("%q is printed: %s", secret, printed)
		}
	}
	if strings.Contains(strings.Join(notes, "\n"), "without an API key") {
		t.Errorf("there is a key: %v", notes)
	}
	if got := failing(t, config.Options{Environ: []string{"API_KEY=two words"}}); strings.Contains(got, "two words") || !strings.Contains(got, "environment: API_KEY: want printable ASCII") {
		t.Error(got)
	}
}

// TestBlankKeyIsRefused: who gives one means to close the server.
func TestBlankKeyIsRefused(t *testing.T) {
	f := func(o config.Options, want string) {
		t.Helper()
		if got := failing(t, o); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	f(config.Options{Environ: []string{"API_KEY= "}}, "environment: API_KEY: is blank")
	f(config.Options{Environ: []string{"API_KEY_FILE=\t"}}, "environment: API_KEY_FILE: is blank")
	f(config.Options{File: write(t, "security: {api_key: ' '}")}, ":1: security.api_key: is blank")
	f(config.Options{File: write(t, "security: {api_key_file: ' '}")}, ":1: security.api_key_file: is blank")
	f(config.Options{Environ: []string{"API_KEY_FILE=" + write(t, " \n\n")}}, "holds no key")
	f(config.Options{Environ: []string{"API_KEY_FILE=" + write(t, "first-key-of-two\nsecond key\n")}}, "want printable ASCII without blanks")
	f(config.Options{Environ: []string{"API_KEY_FILE=" + nowhere}}, "environment: API_KEY_FILE: "+nowhere+": no such file")
	f(config.Options{Environ: []string{"API_KEY_FILE=" + t.TempDir()}}, "is not a regular file")

	for _, o := range []config.Options{{Environ: []string{"API_KEY="}}, {File: write(t, "security: {api_key: }")}, {File: write(t, "security: {api_key: ''}")}} {
		if c, _ := load(t, o); c.HasKey() {
			t.Errorf("%+v: there is a key", o)
		}
	}
}

func TestAPIKeys(t *testing.T) {
	f := func(want string, short bool, environ ...string) {
		t.Helper()
		c, notes := load(t, config.Options{Environ: environ})
		keys, err := c.APIKeys()
		if got := strings.Join(keys, ","); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		text := strings.Join(notes, "\n")
		if got := strings.Contains(text, "An API key is shorter than 8 characters"); got != short {
			t.Errorf("%q: got notes %q", want, text)
		}
		for _, k := range keys {
			if strings.Contains(text, k) {
				t.Errorf("the notes tell the key %q: %s", k, text)
			}
		}
	}
	// The example's key is said to be known; its text may stand there.
	for key, known := range map[string]bool{"replace-this-api-key": true, "1f0c9a7788": false} {
		_, notes := load(t, config.Options{Environ: []string{"API_KEY=" + key}})
		if got := strings.Contains(strings.Join(notes, "\n"), "An API key is the example's"); got != known {
			t.Errorf("%q: got notes %q", key, notes)
		}
	}
	file := write(t, "second-key\r\n\n third-key \n")
	f("", false)
	f("12345678", false, "API_KEY=12345678")
	f("1234567", true, "API_KEY=1234567")
	f("second-key,third-key", false, "API_KEY_FILE="+file)
	f("first-key,second-key,third-key", false, "API_KEY=first-key", "API_KEY_FILE="+file)
	f("4th", true, "API_KEY_FILE="+write(t, "4th"))
}

// TestFilesOfTLS must be there, and fit together, before anything starts.
func TestFilesOfTLS(t *testing.T) {
	f := func(cert, key string, want ...string) {
		t.Helper()
		got := failing(t, config.Options{Environ: []string{"CARLA_RL_TLS_CERT_FILE=" + cert, "CARLA_RL_TLS_KEY_FILE=" + key}})
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("got %q, want %q in it", got, w)
			}
		}
	}
	f(nowhere, nowhere, "environment: CARLA_RL_TLS_CERT_FILE: "+nowhere+": no such file", "environment: CARLA_RL_TLS_KEY_FILE: "+nowhere+": no such file")
	f(t.TempDir(), write(t, "x"), "CARLA_RL_TLS_CERT_FILE: ", "is not a regular file")
	f(write(t, "x"), write(t, "y"), "CARLA_RL_TLS_CERT_FILE: with server.tls_key_file: failed to find any PEM data")
}
