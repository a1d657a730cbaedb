//go:build !unix

package main

import "errors"

func startPostgres() (url string, stop func(), err error) {
	return "", nil, errors.New("PostgreSQL is started on systems of Unix's kind alone: give its URL as BENCH_POSTGRES")
}
