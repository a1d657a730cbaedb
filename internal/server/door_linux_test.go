package server

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestCloseDoorLosesNobodyInIt(t *testing.T) {
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
	if n := waitingAtDoor(ln); n != waiting {
		t.Fatalf("%d connections wait, want %d", n, waiting)
	}
	if !closeDoor(ln) {
		t.Fatal("the door could not be closed")
	}

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if c, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String()); !errors.Is(err, context.DeadlineExceeded) && !os.IsTimeout(err) {
		t.Errorf("dialled %v, %v through a closed door", c, err)
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
	if n := waitingAtDoor(ln); n != 0 {
		t.Errorf("%d connections wait after all were accepted", n)
	}
}

func TestCloseDoorOfAnotherListener(t *testing.T) {
	ln, err := net.Listen("unix", t.TempDir()+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if n := waitingAtDoor(ln); n != 0 {
		t.Errorf("%d connections wait at a Unix socket", n)
	}
	closeDoor(ln) // Whether it can or not, it does no harm.
	if closeDoor(nil) {
		t.Error("the door of nothing was closed")
	}
}
