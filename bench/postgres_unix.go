//go:build unix

package main

import "github.com/carla-rl/carla-rl-serving/internal/experience/pgtest"

// startPostgres starts the PostgreSQL of the system's package, as the tests do, and
// returns the URL of a database in it.
func startPostgres() (url string, stop func(), err error) {
	s, err := pgtest.New()
	if err != nil {
		return "", nil, err
	}
	if err := s.Exec("postgres", "create database bench"); err != nil {
		s.Close()
		return "", nil, err
	}
	return s.URL("bench", 0), s.Close, nil
}
