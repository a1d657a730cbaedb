package main

import (
	"fmt"
	"math"
	"net/http"
	"text/tabwriter"
	"time"
)

// statusCmd prints what a server serves.
type statusCmd struct {
	remote
}

// Help gives examples.
func (c *statusCmd) Help() string {
	return `Examples:
  carla-rl status
  carla-rl status --url http://robot:8080 --json

The version that answers for its model has a star, the one that a rollback returns
to a minus. Exit code 1: a model has no version that answers.`
}

// servedVersion is one version as a server tells of it.
type servedVersion struct {
	Model     string  `json:"model"`
	Version   string  `json:"version"`
	State     string  `json:"state"`
	Reason    string  `json:"reason"`
	Digest    string  `json:"digest"`
	Since     float64 `json:"since"`
	Answers   bool    `json:"answers"`
	Previous  bool    `json:"previous"`
	UnderRoot bool    `json:"under_root"`
	Sessions  int     `json:"sessions"`
}

// served is the answer of /versions as far as it is printed.
type served struct {
	Versions []servedVersion `json:"available_versions"`
	Models   []struct {
		Model  string `json:"model"`
		Ready  bool   `json:"ready"`
		Why    string `json:"why"`
		Pinned bool   `json:"pinned"`
	} `json:"models"`
	Root struct {
		CheckedAt float64 `json:"checked_at"`
		Error     string  `json:"error"`
		Poll      float64 `json:"poll_interval_s"`
	} `json:"root"`
}

// Run asks and prints.
func (c *statusCmd) Run(s stdio) error {
	var list served
	if err := c.query(s, http.MethodGet, "/versions", nil, &list, "server", "CARLA_RL_ADMIN_KEY", "API_KEY"); err != nil {
		return err
	}
	if !c.JSON {
		list.print(s)
	}
	for _, m := range list.Models {
		if !m.Ready {
			return fmt.Errorf("model %s has no version that answers", oneLine(m.Model))
		}
	}
	return nil
}

func (l *served) print(s stdio) {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tMODEL\tVERSION\tSTATE\tDIGEST\tSINCE\tSESSIONS\tREASON")
	for _, v := range l.Versions {
		mark := ""
		switch {
		case v.Answers:
			mark = "*"
		case v.Previous:
			mark = "-"
		}
		reason := oneLine(v.Reason)
		if !v.UnderRoot {
			reason = joined("in memory only", reason)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", mark, oneLine(v.Model), oneLine(v.Version), oneLine(v.State),
			oneLine(v.Digest[:min(12, len(v.Digest))]), at(v.Since), v.Sessions, reason)
	}
	// What cannot be written cannot be told of either.
	_ = w.Flush()
	for _, m := range l.Models {
		if m.Pinned {
			fmt.Fprintf(s.out, "%s is held by a rollback until there is a new version, or a reload\n", oneLine(m.Model))
		}
	}
	switch {
	case l.Root.Error != "":
		fmt.Fprintf(s.out, "at %s: %s\n", at(l.Root.CheckedAt), oneLine(l.Root.Error))
	case l.Root.Poll > 0:
		fmt.Fprintf(s.out, "the artifact folder is looked at every %v, last at %s\n", time.Duration(l.Root.Poll*float64(time.Second)), at(l.Root.CheckedAt))
	}
}

// at prints a time in seconds since 1970.
func at(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)).UTC().Format("2006-01-02T15:04:05Z")
}

func joined(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}
