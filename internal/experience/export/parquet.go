package export

import (
	"bufio"
	"math"

	"github.com/go-json-experiment/json"

	"github.com/carla-rl/carla-rl-serving/internal/experience/parquet"
)

// parquetWriter writes Parquet. Values of a shape are a list of all of them, the
// last axis first; the layout is in the file's metadata, as carla_rl.layout.
type parquetWriter struct {
	w     *parquet.Writer
	table *table
}

var parquetKinds = map[kind]parquet.Kind{
	boolean: parquet.Bool, integer: parquet.Int64, unsigned: parquet.Uint64, single: parquet.Float32, double: parquet.Float64,
	text: parquet.String, moment: parquet.Time, list: parquet.Float32,
}

func newParquetWriter(out *bufio.Writer, t *table) (*parquetWriter, error) {
	var columns []parquet.Column
	for i := range t.columns {
		c := &t.columns[i]
		p := parquet.Column{Name: c.name, Kind: parquetKinds[c.kind], List: c.kind == list, Optional: c.kind == double || c.kind == text}
		if c.whole {
			p.Kind = parquet.Int64
		}
		columns = append(columns, p)
	}
	var meta []parquet.Meta
	if t.layout != nil {
		doc, err := json.Marshal(t.layout)
		if err != nil {
			return nil, err
		}
		meta = append(meta, parquet.Meta{Key: "carla_rl.layout", Value: string(doc)})
	}
	w, err := parquet.NewWriter(out, columns, meta...)
	return &parquetWriter{w: w, table: t}, err
}

func (p *parquetWriter) write(r *record) error {
	var v cell
	for i := range p.table.columns {
		c := &p.table.columns[i]
		switch c.value(r, &v); c.kind {
		case boolean:
			p.w.Bool(i, v.bool)
		case integer, unsigned, moment:
			p.w.Int(i, v.int)
		case single:
			p.w.Float(i, v.float)
		case double:
			if math.IsNaN(v.float) {
				p.w.Null(i)
			} else {
				p.w.Float(i, v.float)
			}
		case text:
			if v.text == "" {
				p.w.Null(i)
			} else {
				p.w.Text(i, v.text)
			}
		case list:
			p.w.Floats(i, v.list)
		}
	}
	return p.w.EndRow()
}

func (p *parquetWriter) close() error { return p.w.Close() }
