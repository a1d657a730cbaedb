//go:build !linux

package load

func run(o *Options) (*Result, error) { return runPortable(o) }
