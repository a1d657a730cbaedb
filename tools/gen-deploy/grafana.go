package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// What follows is the part of Grafana's dashboard model that is used here, in
// the form of schema version 39 (Grafana 11), which later ones read and migrate.
const schemaVersion = 39

// columns is the width of Grafana's grid.
const columns = 24

type object map[string]any

// datasource is the variable by which a dashboard finds its Prometheus.
var datasource = object{"type": "prometheus", "uid": "${datasource}"}

// row is a heading and the panels below it.
type row struct {
	title  string
	panels []panel
}

// panel is one graph; id, place and datasource come by themselves.
type panel struct {
	kind    string // of the panel; timeseries where it is empty
	title   string
	help    string // the i in the corner
	unit    string // of Grafana's list
	w, h    int    // default 8 × 8
	stacked bool
	max     float64 // of the axis; 0 leaves it open
	queries []query
	warn    float64 // a threshold that is drawn; 0 is none
	steps   []object
}

type query struct {
	expr   string
	legend string
	table  bool // the present values only, as a table
}

// dashboardJSON returns the dashboard as Grafana imports it: the bare model,
// neither wrapped in {"dashboard": ...} nor with the id of an instance.
func dashboardJSON() ([]byte, error) {
	var panels []object
	id, y := 0, 0
	for _, r := range rows {
		id++
		panels = append(panels, object{
			"id": id, "type": "row", "title": r.title, "collapsed": false, "panels": []any{},
			"gridPos": object{"x": 0, "y": y, "w": columns, "h": 1},
		})
		y++
		x, tallest := 0, 0
		for _, p := range r.panels {
			if p.w == 0 {
				p.w = 8
			}
			if p.h == 0 {
				p.h = 8
			}
			if x+p.w > columns {
				x, y, tallest = 0, y+tallest, 0
			}
			id++
			panels = append(panels, p.object(id, x, y))
			x, tallest = x+p.w, max(tallest, p.h)
		}
		y += tallest
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object{
		"title": "CarlaRL Policy-as-a-Service", "uid": "carla-rl-serving",
		"description": "Made by tools/gen-deploy of carla-rl-serving. Labels and metrics: docs/operations.md.",
		"tags":        []string{"carla-rl-serving", "robotics", "inference"},
		"id":          nil, "version": 1, "schemaVersion": schemaVersion,
		"editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "",
		"time":        object{"from": "now-1h", "to": "now"},
		"annotations": object{"list": []any{}},
		"links": []object{{
			"title": "Runbooks", "type": "link", "icon": "doc", "targetBlank": true, "url": runbooks,
			"asDropdown": false, "includeVars": false, "keepTime": false, "tags": []string{}, "tooltip": "",
		}},
		"templating": object{"list": variables()},
		"panels":     panels,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the dashboard: %w", err)
	}
	return out.Bytes(), nil
}

// variables are the choices at the top. A Prometheus that sets no label
// namespace has none to choose from; its "All" matches what has none.
func variables() []object {
	choice := func(name, label, query, all string) object {
		v := object{
			"name": name, "label": label, "type": "query", "datasource": datasource,
			"query":      object{"query": query, "refId": "variable-" + name, "qryType": 1},
			"definition": query, "refresh": 2, "sort": 1, "regex": "", "hide": 0,
			"multi": true, "includeAll": true, "options": []any{}, "skipUrlSync": false,
			"current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
		}
		if all != "" {
			v["allValue"] = all
		}
		return v
	}
	return []object{
		{
			"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
			"refresh": 1, "regex": "", "hide": 0, "multi": false, "includeAll": false, "options": []any{}, "skipUrlSync": false, "current": object{},
		},
		choice("namespace", "Namespace", `label_values(carla_rl_build_info, namespace)`, ".*"),
		// Without an allValue: "All" are the jobs that were found, not every
		// job of this Prometheus.
		choice("job", "Job", `label_values(carla_rl_build_info{namespace=~"$namespace"}, job)`, ""),
		choice("model", "Model", `label_values(carla_rl_model_current{namespace=~"$namespace",job=~"$job"}, model)`, ".*"),
	}
}

// object returns the panel in Grafana's form.
func (p *panel) object(id, x, y int) object {
	kind := p.kind
	if kind == "" {
		kind = "timeseries"
	}
	var targets []object
	for i, q := range p.queries {
		t := object{
			"refId": string(rune('A' + i)), "datasource": datasource, "editorMode": "code",
			"expr": q.expr, "legendFormat": q.legend, "range": !q.table, "instant": q.table,
			// The only metric that carries them: a trace, where requests are traced.
			"exemplar": strings.Contains(q.expr, "http_request_duration_seconds_bucket"),
		}
		if q.table {
			t["format"] = "table"
		}
		targets = append(targets, t)
	}
	steps := p.steps
	if steps == nil {
		steps = []object{{"color": "green", "value": nil}}
		if p.warn > 0 {
			steps = append(steps, object{"color": "red", "value": p.warn})
		}
	}
	defaults := object{"unit": p.unit, "thresholds": object{"mode": "absolute", "steps": steps}, "mappings": []any{}}
	if p.max > 0 {
		defaults["max"] = p.max
	}
	options := object{}
	switch kind {
	case "timeseries":
		defaults["min"] = 0
		defaults["color"] = object{"mode": "palette-classic"}
		custom := object{
			"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
			"stacking":        object{"mode": "none", "group": "A"},
			"thresholdsStyle": object{"mode": "off"},
		}
		if p.stacked {
			custom["stacking"], custom["fillOpacity"] = object{"mode": "normal", "group": "A"}, 40
		}
		if p.warn > 0 {
			custom["thresholdsStyle"] = object{"mode": "dashed"}
		}
		defaults["custom"] = custom
		options = object{
			"legend":  object{"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": []string{"mean", "max", "lastNotNull"}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	case "stat":
		defaults["color"] = object{"mode": "thresholds"}
		options = object{
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
			"colorMode":     "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
		}
	case "table":
		options = object{"showHeader": true, "cellHeight": "sm"}
	}
	o := object{
		"id": id, "type": kind, "title": p.title, "description": p.help, "datasource": datasource,
		"gridPos": object{"x": x, "y": y, "w": p.w, "h": p.h}, "targets": targets,
		"fieldConfig": object{"defaults": defaults, "overrides": []any{}}, "options": options,
	}
	if kind == "table" {
		o["transformations"] = []object{{"id": "organize", "options": object{"excludeByName": object{"Time": true, "__name__": true}, "indexByName": object{}, "renameByName": object{}}}}
	}
	return o
}
