//go:build !unix

// Package pgtest starts PostgreSQL for tests, on systems of Unix's kind.
package pgtest
