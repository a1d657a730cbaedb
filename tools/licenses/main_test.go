package main

import (
	"slices"
	"testing"
)

func TestLicences(t *testing.T) {
	const bsd = "Redistribution and use in source and binary forms, with or without\nmodification, are permitted\n"
	for text, want := range map[string][]string{
		"Apache License\n                           Version 2.0, January 2004":                  {"Apache-2.0"},
		"Permission is hereby granted, free of charge, to any person obtaining\na copy of this": {"MIT"},
		bsd: {"BSD-2-Clause"},
		bsd + " * Neither the name of Google Inc. nor the names of its": {"BSD-3-Clause"},
		"GNU GENERAL PUBLIC LICENSE Version 3":                          {"GPL"},
		"Mozilla Public License Version 2.0":                            {"MPL"},
		"All rights reserved":                                           nil,
	} {
		if got := licences(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for name, want := range map[string]bool{"LICENSE": true, "LICENSE.txt": true, "License.md": true, "LICENSE-MIT": true, "COPYING": true, "NOTICE": true, "PATENTS": true, "license.go": false, "readme.md": false, "notices_test.go": false} {
		if got := notice.MatchString(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
