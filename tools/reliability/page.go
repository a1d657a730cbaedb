package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/carla-rl/carla-rl-serving/e2e/ledger"
)

// part is a heading of the page, for the ids that begin with its letters.
type part struct {
	letters, title, says string
}

var parts = []part{
	{"L", "Overload and long runs", "What a server does that is asked for more than it can do, and what is left of it after a long day."},
	{"A", "Versions and their files", "Reloads under load, files that are cut, changed or made to harm, a process that is killed while it loads."},
	{"H", "Clients that mean harm, or are broken", "Good clients are served beside them all the time."},
	{"S", "Keys, origins, TLS", ""},
	{"D", "What is recorded", "The record of steps while processes are killed and disks fail."},
	{"F", "Actions", "What leaves is finite and inside its limits."},
	{"K", "Kubernetes", ""},
}

// partOf is the part that an id belongs to; those of none come last.
func partOf(id string) int {
	i := slices.IndexFunc(parts, func(p part) bool { return strings.HasPrefix(id, p.letters) })
	if i < 0 {
		return len(parts)
	}
	return i
}

// promises are the ids that have to be on the page, and what each is about. An id
// that several tests hold stands once for each, with words that are in its rows alone.
var promises = []promise{
	{"L1", "mixed good and bad traffic for half an hour, with reloads", ""},
	{"L2", "two, five and ten times the capacity", ""},
	{"L3", "deadlines at three times the capacity", ""},
	{"L4", "control beside batch", ""},
	{"L5", "128 MiB of memory, ten times the capacity, bodies of 64 MiB", ""},
	{"A1", "reloads and rollbacks under load", ""},
	{"A2", "files cut, with bits flipped, exchanged while they are read", ""},
	{"A3", "kill -9 at any time", ""},
	{"A4", "versions that are not what they should be", ""},
	{"A5", "hostile pickles", ""},
	{"A6", "hostile archives", ""},
	{"A7", "fuzzed readers", "fuzzing of"},
	{"A7", "attacks on formats that are known by name", "known by name"},
	{"A8", "spoilt files, compared with their own readers", ""},
	{"H1", "requests made from the API's description", ""},
	{"H2", "fuzzed decoders", ""},
	{"H3", "requests hidden in requests", ""},
	{"H4", "slow clients", ""},
	{"H6", "header and body bombs", ""},
	{"H7", "hostile WebSocket clients", ""},
	{"S1", "the time of comparing keys", ""},
	{"S5", "secrets in answers, metrics and logs", ""},
	{"D1", "kill -9 while steps are recorded in SQLite", "SQLite"},
	{"D1", "kill -9 while steps are recorded in PostgreSQL", "PostgreSQL"},
	{"D2", "a death at each step of what is written", ""},
	{"D3", "disks that fail", ""},
	{"D4", "full disks", ""},
	{"D5", "a database that is gone", ""},
	{"D6", "clocks that are set", ""},
	{"D7", "files of others, of other releases and of two at once", ""},
}

type promise struct{ id, about, words string }

// page is docs/reliability.md of rows that are in order.
func page(rows []ledger.Row) string {
	var b strings.Builder
	b.WriteString(`# Reliability

Written by ` + "`make chaos`" + ` and ` + "`make soak`" + `: what the server was put through, and what was lost by it. Every row is
a test in this repository that fails where the promise is broken. Ids are those of the tests' comments. How the
server is made so is in [security.md](security.md) and [operations.md](operations.md); every limit has a key in the
[configuration reference](configuration-reference.md).

    make chaos                      # all that is below but the long runs, within the hour
    make chaos CHAOS="L3 TestKilled" # some, by id or by name
    make chaos FACTOR=10            # ten times the numbers
    make soak                       # half an hour of mixed traffic; SOAK=8h

What is not here is a table or a property in ` + "`make test`" + `, and stands in [SECURITY.md](../SECURITY.md) beside the rule that
it holds: impossible shapes, names that are paths, keys, hosts, TLS, the safety envelope, versions that are taken out of
service. HTTP/2 is not spoken here, so floods of it are not answered. Kubernetes has end-to-end tests of its own.

A promise about time is the machine's as much as the server's. Where others had more than a tenth of its processors a
broken one is tried again, up to four times; a row that failed says so.

`)
	b.WriteString(summary(rows))
	for i, p := range append(slices.Clone(parts), part{title: "Others"}) {
		ours := slices.DeleteFunc(slices.Clone(rows), func(r ledger.Row) bool { return partOf(r.ID) != i || r.Subject != "" })
		if len(ours) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", p.title)
		if p.says != "" {
			fmt.Fprintf(&b, "%s\n\n", p.says)
		}
		b.WriteString("| id | test | load held | faults injected | bad inputs tried | lost | measured |\n|---|---|---|---|---|---|---|\n")
		for _, r := range ours {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.ID, cell(r.Test), cell(r.Load), cell(r.Faults.String()), cell(r.Inputs.String()), lost(r), cell(strings.Join(r.Figures, "; ")))
		}
	}
	b.WriteString(peers(rows))
	b.WriteString(missing(rows))
	b.WriteString(runs(rows))
	return b.String()
}

func cell(s string) string {
	if s == "" {
		return "-"
	}
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

func lost(r ledger.Row) string {
	if r.Failed {
		return "**failed:** " + cell(r.Lost)
	}
	return cell(r.Lost)
}

// summary is the sums of the page.
func summary(rows []ledger.Row) string {
	var tests, failed, other int
	var faults, inputs int64
	for _, r := range rows {
		if r.Subject != "" {
			continue
		}
		tests++
		faults += r.Faults.N
		inputs += r.Inputs.N
		if r.Failed {
			failed++
		}
		if r.Lost != ledger.Nothing {
			other++
		}
	}
	s := fmt.Sprintf("In sum: %d rows, %s faults, %s bad inputs; ", tests, ledger.Thousands(faults), ledger.Thousands(inputs))
	switch {
	case failed > 0:
		s += fmt.Sprintf("**%d failed** in this run.\n", failed)
	case other > 0:
		s += fmt.Sprintf("nothing was lost in %d of them, and in %d what the row says.\n", tests-other, other)
	default:
		s += "nothing was lost.\n"
	}
	return s
}

// peers is the table of the same tests on other servers, a column each.
func peers(rows []ledger.Row) string {
	var subjects []string
	var tests [][2]string
	for _, r := range rows {
		if r.Subject == "" {
			continue
		}
		if !slices.Contains(subjects, r.Subject) {
			subjects = append(subjects, r.Subject)
		}
		if k := [2]string{r.ID, r.Test}; !slices.Contains(tests, k) {
			tests = append(tests, k)
		}
	}
	if len(tests) == 0 {
		return ""
	}
	slices.Sort(subjects)
	var b strings.Builder
	b.WriteString("\n## The same clients on other servers\n\nThe same policy on the same machine, one server at a time, each as its documentation sets it up for production and\nwith as many processes as there are processors where it takes a number of them. The column of this server is from the\nsame run. What a server was not asked for is not in the table.\n\n| id | test |")
	for _, s := range subjects {
		fmt.Fprintf(&b, " %s |", cell(s))
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(subjects)) + "\n")
	for _, k := range tests {
		fmt.Fprintf(&b, "| %s | %s |", k[0], cell(k[1]))
		for _, s := range subjects {
			i := slices.IndexFunc(rows, func(r ledger.Row) bool { return r.Subject == s && r.ID == k[0] && r.Test == k[1] })
			if i < 0 {
				b.WriteString(" - |")
				continue
			}
			fmt.Fprintf(&b, " %s |", cell(strings.Join(rows[i].Figures, "; ")))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// missing names what was promised and is not in the rows.
func missing(rows []ledger.Row) string {
	var b strings.Builder
	for _, p := range promises {
		if !slices.ContainsFunc(rows, func(r ledger.Row) bool { return r.ID == p.id && r.Subject == "" && strings.Contains(r.Test, p.words) }) {
			fmt.Fprintf(&b, "- %s, %s\n", p.id, p.about)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\n## Not in these runs\n\n" + b.String()
}

// runs is which machine and commit the rows are from.
func runs(rows []ledger.Row) string {
	type run struct {
		machine, commit string
		first, last     time.Time
		busy            float64
		ids             []string
	}
	var all []*run
	for _, r := range rows {
		i := slices.IndexFunc(all, func(x *run) bool { return x.machine == r.Machine && x.commit == r.Commit })
		if i < 0 {
			i, all = len(all), append(all, &run{machine: r.Machine, commit: r.Commit, first: r.Time, last: r.Time})
		}
		x := all[i]
		if r.Time.Before(x.first) {
			x.first = r.Time
		}
		if r.Time.After(x.last) {
			x.last = r.Time
		}
		x.busy = max(x.busy, r.Busy)
		if !slices.Contains(x.ids, r.ID) {
			x.ids = append(x.ids, r.ID)
		}
	}
	slices.SortFunc(all, func(a, b *run) int { return a.first.Compare(b.first) })
	var b strings.Builder
	b.WriteString("\n## Machine and commit\n\n| commit | from | to (UTC) | machine | most that was busy | ids |\n|---|---|---|---|---|---|\n")
	for _, x := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.1f | %s |\n", cell(x.commit), x.first.Format("2006-01-02 15:04"), x.last.Format("2006-01-02 15:04"), cell(x.machine), x.busy, strings.Join(x.ids, " "))
	}
	b.WriteString("\n*Most that was busy* is the highest load average of a minute at the end of a test: of the test itself, and of whatever\nelse the machine had to do. The rows as data: [reliability.json](reliability.json).\n")
	return b.String()
}
