package main

import (
	"strings"
	"testing"
)

func TestIsPreprocessor(t *testing.T) {
	f := func(name, data string, want bool) {
		t.Helper()
		if got := isPreprocessor([]byte(data)); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("pickle of protocol 4", "\x80\x04N.", true)
	f("pickle of protocol 0", "cos\nsystem\n(S'x'\ntR.", true)
	f("pickle of protocol 0 and a newline", "N.\n", true)
	f("array", "\x93NUMPY\x01\x00", true)
	f("arrays", "PK\x03\x04"+strings.Repeat("\x00", 22)+"\x08\x00\x00\x00mean.npy", true)
	f("joblib in zlib", "\x78\x5e\x8d\x55", true)
	f("joblib in gzip", "\x1f\x8b\x08\x00", true)
	f("safetensors of 40056 bytes of header", "\x78\x9c\x00\x00\x00\x00\x00\x00{}", false)
	f("model", "PK\x03\x04"+strings.Repeat("\x00", 22)+"\x10\x00\x00\x00archive/data.pkl", false)
	f("weights before torch 1.6", string(legacyTorch)+".", false)
	f("safetensors of 640 bytes of header", "\x80\x02\x00\x00\x00\x00\x00\x00{}", false)
	f("ONNX with metadata that ends in a dot", "\x08\x0ar\x04note.", false)
	f("nothing", "", false)
	f("short zip", "PK\x03\x04", false)
	f("text", "hello", false)
}

func TestOneLine(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := oneLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("a\nb\tc", "a b c")
	f("\x1b[31mred", "\uFFFD[31mred")
	f("  ß ok ", "ß ok")
	f("\u202Eevil", "\uFFFDevil")
	if got := oneLine(strings.Repeat("x", 1<<20)); len(got) > errorLineMax+8 {
		t.Errorf("a long line has %d bytes", len(got))
	}
}
