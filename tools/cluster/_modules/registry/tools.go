//go:build tools

// Package registry pins the image registry that stands in for every other in a
// test cluster.
package registry

import _ "github.com/distribution/distribution/v3/cmd/registry"
