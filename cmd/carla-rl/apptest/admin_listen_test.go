//go:build unix

package apptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAdminListen: the routes of admins at a socket of their own, which the
// command line reaches, and nowhere else.
func TestAdminListen(t *testing.T) {
	dir, err := os.MkdirTemp("", "crl") // the name of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	keys, socket := filepath.Join(dir, "keys"), "unix://"+filepath.Join(dir, "admin.sock")
	ops := newKey(t, keys, "ops", "--scope", "admin")
	keyFile := filepath.Join(dir, "ops")
	replaceFile(t, keyFile, ops+"\n")
	p := start(t, environment("CARLA_RL_KEYS_FILE="+keys, "CARLA_RL_ADMIN_LISTEN="+socket))
	p.waitReady()
	h := http.Header{}
	h.Set("X-API-Key", ops)
	if a := p.do("POST", "/admin/reload", "", h); a.status != 403 || !strings.Contains(a.body, "ADMIN_DISABLED") {
		t.Errorf("a reload at the server's own port: %d %s", a.status, a.body)
	}
	for _, act := range []string{"reload", "status"} {
		if r := execute(t, "", act, "--url", socket, "--key-file", keyFile); r.code != 0 {
			t.Errorf("%s at the socket: %d %s%s", act, r.code, r.stdout, r.stderr)
		}
	}
	if r := execute(t, "", "reload", "--url", socket); r.code == 0 || !strings.Contains(r.stderr, "UNAUTHORIZED") {
		t.Errorf("without a key: %d %s", r.code, r.stderr)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(strings.TrimPrefix(socket, "unix://")); err == nil {
		t.Error("the socket is left behind")
	}
}

// TestCertificateStandsForAKey on the command line: an admin who shows a
// certificate and no key.
func TestCertificateStandsForAKey(t *testing.T) {
	dir := t.TempDir()
	caKey := newECDSA(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, kind string, der []byte) {
		t.Helper()
		if err := os.WriteFile(file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(name string, usage x509.ExtKeyUsage, dns string) {
		t.Helper()
		key := newECDSA(t)
		c := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, DNSNames: []string{dns}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "CERTIFICATE", der)
		write(name+".key", "PRIVATE KEY", private)
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", "CERTIFICATE", der)
	issue("server", x509.ExtKeyUsageServerAuth, "localhost")
	issue("ops", x509.ExtKeyUsageClientAuth, "ops.fleet.example")
	issue("robot", x509.ExtKeyUsageClientAuth, "robot.fleet.example")
	for name, scope := range map[string]string{"ops": "admin", "robot": "infer"} {
		if r := execute(t, "", "key", "new", "--name", name, "--scope", scope, "--cert", name+".fleet.example", "--append", file("keys")); r.code != 0 || r.stdout != "" {
			t.Fatal(r.stdout, r.stderr)
		}
	}
	p := launch(t, environment(
		"CARLA_RL_KEYS_FILE="+file("keys"), "CARLA_RL_TLS_CERT_FILE="+file("server.pem"), "CARLA_RL_TLS_KEY_FILE="+file("server.key"),
		"CARLA_RL_TLS_CLIENT_CA_FILE="+file("ca.pem"), "LOG_FORMAT=json",
	), "serve", "--port", "0")
	var url string
	for begun := time.Now(); url == "" && time.Since(begun) < startMax; time.Sleep(time.Millisecond) {
		if _, rest, ok := strings.Cut(p.stderr(), "https://"); ok && strings.Contains(rest, " ") {
			at, _, _ := strings.Cut(rest, " ")
			url = "https://" + at
		}
	}
	ask := func(who string) result {
		t.Helper()
		return execute(t, "", "reload", "--url", url, "--ca", file("ca.pem"), "--cert", file(who+".pem"), "--cert-key", file(who+".key"))
	}
	if r := ask("ops"); r.code != 0 {
		t.Errorf("ops: %d %s", r.code, r.stderr)
	}
	if r := ask("robot"); r.code == 0 || !strings.Contains(r.stderr, "FORBIDDEN") {
		t.Errorf("robot: %d %s", r.code, r.stderr)
	}
	if r := execute(t, "", "reload", "--url", url, "--ca", file("ca.pem")); r.code == 0 {
		t.Error("without a certificate a reload is taken")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if told := p.stdout(); !strings.Contains(told, `"event_type":"audit"`) || !strings.Contains(told, `"key":"ops"`) || !strings.Contains(told, `"key":"robot"`) {
		t.Errorf("the acts are not on record: %s", told)
	}
}

func newECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
