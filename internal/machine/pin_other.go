//go:build !linux

package machine

import "runtime"

// Pin leaves all as it is on this system, and says so.
func Pin(spec string, _ int) (Pinned, error) {
	if spec == PinOff {
		return Pinned{}, nil
	}
	return Pinned{Note: "cores are not pinned on " + runtime.GOOS}, nil
}
