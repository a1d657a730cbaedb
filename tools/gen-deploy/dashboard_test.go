package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// board is a dashboard as Grafana reads it.
type board struct {
	Title         string
	UID           string
	SchemaVersion int
	ID            *int
	Dashboard     any
	Templating    struct {
		List []struct {
			Name, Type string
			Datasource source
		}
	}
	Panels []graph
}

type source struct{ Type, UID string }

type graph struct {
	ID         int
	Type       string
	Title      string
	Datasource source
	GridPos    struct{ X, Y, W, H int }
	Targets    []struct {
		RefID, Expr, LegendFormat, Format string
		Datasource                        source
	}
	FieldConfig struct{ Defaults struct{ Unit string } }
}

func loadBoard(t *testing.T) board {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, dashboardFile))
	if err != nil {
		t.Fatal(err)
	}
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDashboardImports holds what Grafana asks of a dashboard from a file: the
// bare model with a title and a uid, and no id of an instance.
func TestDashboardImports(t *testing.T) {
	b := loadBoard(t)
	if b.Title == "" || b.UID == "" || b.SchemaVersion < 36 || b.ID != nil || b.Dashboard != nil {
		t.Errorf("title %q, uid %q, schemaVersion %d, id %v, dashboard %v", b.Title, b.UID, b.SchemaVersion, b.ID, b.Dashboard)
	}
	var names []string
	for _, v := range b.Templating.List {
		names = append(names, v.Name)
		if v.Type == "query" && v.Datasource.UID != "${datasource}" {
			t.Errorf("variable %s asks %v", v.Name, v.Datasource)
		}
	}
	if got := strings.Join(names, " "); got != "datasource namespace job model" {
		t.Errorf("variables %s", got)
	}
}

// TestDashboardPanels holds each panel to the house's rules.
func TestDashboardPanels(t *testing.T) {
	b := loadBoard(t)
	ids, titles := map[int]bool{}, map[string]bool{}
	cells := map[[2]int]string{}
	graphs := 0
	for _, p := range b.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%s: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if titles[p.Title] || p.Title == "" {
			t.Errorf("two panels are called %q", p.Title)
		}
		titles[p.Title] = true
		g := p.GridPos
		if g.X < 0 || g.X+g.W > columns || g.W < 1 || g.H < 1 {
			t.Errorf("%s: lies at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		graphs++
		if p.Type == "graph" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: type %s, unit %q, datasource %v, %d queries", p.Title, p.Type, p.FieldConfig.Defaults.Unit, p.Datasource, len(p.Targets))
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: query %s, datasource %v", p.Title, q.RefID, q.Datasource)
			}
			refs[q.RefID] = true
			if q.LegendFormat == "" && q.Format != "table" {
				t.Errorf("%s: query %s has no legend", p.Title, q.RefID)
			}
			if strings.Count(q.Expr, "{") != strings.Count(q.Expr, jobs) {
				t.Errorf("%s: not every selector has namespace and job: %s", p.Title, q.Expr)
			}
			if strings.Contains(q.Expr, "[") && !strings.Contains(q.Expr, "[$__rate_interval]") {
				t.Errorf("%s: a range of its own: %s", p.Title, q.Expr)
			}
		}
	}
	if graphs < 25 {
		t.Errorf("%d panels", graphs)
	}
}
