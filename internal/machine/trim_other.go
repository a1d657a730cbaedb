//go:build !linux

package machine

// TrimProgram does nothing on this system.
func TrimProgram() error { return nil }
