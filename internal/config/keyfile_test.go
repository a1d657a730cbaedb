package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carla-rl/carla-rl-serving/internal/config"
)

// hashOf is what a line has of a key.
func hashOf(key string) string { return fmt.Sprintf("sha256:%x", config.HashKey(key)) }

func TestParseKey(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		k, err := config.ParseKey(line)
		if err != nil || k.String() != want {
			t.Errorf("%s: got %q, %v, want %q", line, k.String(), err, want)
		}
		again, err := config.ParseKey(k.String())
		if err != nil || again.String() != want {
			t.Errorf("%s: its own line is read as %q, %v", line, again.String(), err)
		}
	}
	h := hashOf("a")
	f("robot "+h+" infer", "robot "+h+" infer")
	f("\trobot-7_b.c  "+h+"  infer,metrics,admin ", "robot-7_b.c "+h+" infer,metrics,admin")
	f("r "+h+" admin rate=10/min expires=2030-01-31", "r "+h+" admin rate=10/min expires=2030-01-31T00:00:00Z")
	f("r "+h+" admin expires=2030-01-31T12:00:00+02:00 rate=5/s", "r "+h+" admin rate=5/s expires=2030-01-31T10:00:00Z")
	f("ops cert:spiffe://fleet.example/ops admin rate=5/s", "ops cert:spiffe://fleet.example/ops admin rate=5/s")
	if k, err := config.ParseKey("r " + h + " infer expires=2030-01-31"); err != nil || !k.Expires.Equal(time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", k, err)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	h := hashOf("a")
	f := func(line, want string) {
		t.Helper()
		_, err := config.ParseKey(line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", line, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "my-secret") {
			t.Errorf("%q: the error has the key: %v", line, err)
		}
	}
	f("", "want a name, sha256:HASH or cert:NAME, and scopes")
	f("robot "+h, "want a name, sha256:HASH or cert:NAME, and scopes")
	f("-r "+h+" infer", "begins with a letter")
	f("a:b "+h+" infer", "letters, digits")
	f(strings.Repeat("a", 65)+" "+h+" infer", "at most 64")
	f("r my-secret-key infer", "64 hexadecimal digits")
	f("r sha256:my-secret infer", "64 hexadecimal digits")
	f("r "+h[:70]+" infer", "64 hexadecimal digits")
	f("r "+h[7:]+" infer", "64 hexadecimal digits")
	f("r cert: infer", "a name of a certificate")
	f("r cert:\x01 infer", "a name of a certificate")
	f("r cert:"+strings.Repeat("a", 257)+" infer", "of 1 to 256 characters")
	f("r "+h+" infer,root", "want scopes out of infer, metrics, admin")
	f("r "+h+" infer,infer", "want scopes")
	f("r "+h+" ,", "want scopes")
	f("r "+h+" infer rate=5", "want a rate")
	f("r "+h+" infer rate=5/s rate=6/s", "at most once")
	f("r "+h+" infer expires=soon", "want a date")
	f("r "+h+" infer rat=5/s", "want rate=1000/min or expires=")
}

// TestKeysOfAllSources are one table.
func TestKeysOfAllSources(t *testing.T) {
	file := write(t, "# comment\n\nrobot "+hashOf("robot-key")+" infer rate=5/s\r\nops "+hashOf("ops-key-1")+" admin,metrics\n")
	f := func(want string, environ ...string) {
		t.Helper()
		c, _ := load(t, config.Options{Environ: environ})
		keys, err := c.Keys()
		var got []string
		for _, k := range keys {
			got = append(got, k.Name+"="+strings.Join(k.Scopes, "+"))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%v: got %q, %v, want %q", environ, got, err, want)
		}
	}
	f("")
	f("robot=infer ops=admin+metrics", "CARLA_RL_KEYS_FILE="+file)
	f("robot=infer ops=admin+metrics "+hashOf("admin-key")[:15]+"=admin "+hashOf("first-key")[:15]+"=infer", "CARLA_RL_KEYS_FILE="+file, "API_KEY=first-key", "CARLA_RL_ADMIN_KEY=admin-key")
	f(hashOf("first-key")[:15]+"=admin", "API_KEY=first-key", "CARLA_RL_ADMIN_KEY=first-key")
	f(hashOf("first-key")[:15]+"=infer", "API_KEY=first-key", "API_KEY_FILE="+write(t, "first-key\nfirst-key\n"))

	c, notes := load(t, config.Options{Environ: []string{"HOST=0.0.0.0", "CARLA_RL_KEYS_FILE=" + file}})
	if text := strings.Join(notes, "\n"); !c.HasKey() || strings.Contains(text, "without an API key") {
		t.Errorf("a file of keys is none: %s", text)
	}
	g := func(want string, environ ...string) {
		t.Helper()
		if got := failing(t, config.Options{Environ: environ}); !strings.Contains(got, want) {
			t.Errorf("%v: got %q, want %q in it", environ, got, want)
		}
	}
	g("CARLA_RL_KEYS_FILE: is blank", "CARLA_RL_KEYS_FILE= ")
	g("no such file", "CARLA_RL_KEYS_FILE="+nowhere)
	g("holds no key", "CARLA_RL_KEYS_FILE="+write(t, "# none\n"))
	g("line 2: key b: want scopes", "CARLA_RL_KEYS_FILE="+write(t, "a "+hashOf("a")+" infer\nb "+hashOf("b")+" x\n"))
	g("line 2: there is another key a", "CARLA_RL_KEYS_FILE="+write(t, "a "+hashOf("a")+" infer\na "+hashOf("b")+" infer\n"))
	g("key b: there is another of the same text", "CARLA_RL_KEYS_FILE="+write(t, "a "+hashOf("a")+" infer\nb "+hashOf("a")+" infer\n"))
	g("key robot of security.keys_file is set in another setting too", "CARLA_RL_KEYS_FILE="+file, "API_KEY=robot-key")
	many := &strings.Builder{}
	for i := range config.MaxKeys + 1 {
		fmt.Fprintf(many, "k%d %s infer\n", i, hashOf(fmt.Sprint(i)))
	}
	g("there are 1001 keys, at most 1000 are taken", "CARLA_RL_KEYS_FILE="+write(t, many.String()))
}

func TestClientCAs(t *testing.T) {
	if got := failing(t, config.Options{Environ: []string{"CARLA_RL_TLS_CLIENT_CA_FILE=" + nowhere}}); !strings.Contains(got, "CARLA_RL_TLS_CLIENT_CA_FILE: without server.tls_cert_file") {
		t.Error(got)
	}
	both := []string{"CARLA_RL_TLS_CERT_FILE=" + write(t, "x"), "CARLA_RL_TLS_KEY_FILE=" + write(t, "x")}
	if got := failing(t, config.Options{Environ: append(both, "CARLA_RL_TLS_CLIENT_CA_FILE="+write(t, "x"))}); !strings.Contains(got, "holds no certificate in PEM") {
		t.Error(got)
	}
	if got := failing(t, config.Options{Environ: append(both, "CARLA_RL_TLS_MIN_VERSION=1.1")}); !strings.Contains(got, "CARLA_RL_TLS_MIN_VERSION: want one of 1.2, 1.3") {
		t.Error(got)
	}
}

// TestKeysOfCertificates need an authority that the certificates are held to,
// and each a name of its own.
func TestKeysOfCertificates(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "keys")
	load := func(lines string, ca string) (*config.Config, []string, error) {
		t.Helper()
		if err := os.WriteFile(name, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		env := []string{"CARLA_RL_KEYS_FILE=" + name, "CARLA_RL_ADMIN_LISTEN=127.0.0.1:0"}
		if ca != "" {
			env = append(env, "CARLA_RL_TLS_CLIENT_CA_FILE="+ca)
		}
		return config.Load(config.Options{DefaultFile: filepath.Join(dir, "none"), Environ: env})
	}
	if _, _, err := load("robot cert:robot infer\n", ""); err == nil || !strings.Contains(err.Error(), "key robot: without server.tls_client_ca_file") {
		t.Errorf("got %v", err)
	}
	if _, _, err := load("a cert:robot infer\nb cert:robot admin\n", filepath.Join(dir, "ca")); err == nil || !strings.Contains(err.Error(), "key b: there is another") {
		t.Errorf("got %v", err)
	}
	_, notes, err := load("a "+hashOf("a")+" infer\n", "")
	if err != nil || !strings.Contains(strings.Join(notes, " "), "no key of the scope admin") {
		t.Errorf("got %q, %v", notes, err)
	}
	_, notes, err = load("a "+hashOf("a")+" admin\n", "")
	if err != nil || strings.Contains(strings.Join(notes, " "), "scope admin") {
		t.Errorf("got %q, %v", notes, err)
	}
}

func TestAdminListen(t *testing.T) {
	f := func(text, host string, port int, path string, exposed, ok bool) {
		t.Helper()
		c, _, err := config.Load(config.Options{DefaultFile: filepath.Join(t.TempDir(), "none"), Environ: []string{"CARLA_RL_ADMIN_LISTEN=" + text}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil {
			return
		}
		if h, p, s := c.Server.AdminAddress(); h != host || p != port || s != path || c.AdminExposed() != exposed {
			t.Errorf("%q: %q %d %q, exposed %v", text, h, p, s, c.AdminExposed())
		}
	}
	f("", "", 0, "", false, true)
	f("127.0.0.1:8081", "127.0.0.1", 8081, "", false, true)
	f("localhost:8081", "localhost", 8081, "", false, true)
	f("[::1]:8081", "::1", 8081, "", false, true)
	f("0.0.0.0:0", "0.0.0.0", 0, "", true, true)
	f("unix:///run/admin.sock", "", 0, "/run/admin.sock", false, true)
	for _, bad := range []string{"8081", ":8081", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "a/b:1", "http://a:1", "unix://a", "::1:8081"} {
		f(bad, "", 0, "", false, false)
	}
}
