package server

import (
	"context"
	"net"
	"os"
	"testing"
	"time"
)

// TestRefuseNew holds that connections that have reached a listener can be
// accepted with what they carry, while none is begun.
func TestRefuseNew(t *testing.T) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // its sockets take no filter
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	const waiting = 3
	for range waiting {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if n := unaccepted(ln); n != waiting {
		t.Fatalf("%d connections wait, want %d", n, waiting)
	}
	if !refuseNew(ln) {
		t.Fatal("new connections cannot be refused")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String()); !os.IsTimeout(err) {
		t.Errorf("dialled %v, %v", c, err)
	}
	for range waiting {
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil || b[0] != 'x' {
			t.Errorf("read %q, %v from a connection that waited", b, err)
		}
	}
	if n := unaccepted(ln); n != 0 {
		t.Errorf("%d connections wait after all were accepted", n)
	}
}

func TestRefuseNewOfOthers(t *testing.T) {
	ln, err := net.Listen("unix", t.TempDir()+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if refuseNew(ln) || unaccepted(ln) != 0 {
		t.Error("a Unix socket was taken for TCP")
	}
	if hidden := (struct{ net.Listener }{&flakyListener{}}); refuseNew(hidden) || unaccepted(hidden) != 0 {
		t.Error("a listener without a descriptor was taken for one with")
	}
}
