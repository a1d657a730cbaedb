//go:build !unix

package artifact_test

import "errors"

func makeFIFO(string) error { return errors.New("this system has no FIFOs") }
