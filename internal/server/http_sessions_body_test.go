package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// openingTwin is the slow twin of decodeOpening: the body as a tree, held to
// what it may have.
func openingTwin(data []byte, names []string, maxTTL time.Duration) (o opening, malformed, bad bool) {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	root, err := treeOf(d, 0, func(v float64, text string) any { return numeral{v, text} })
	if err == nil {
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("trailing")
		}
	}
	if err != nil {
		return o, true, false
	}
	members, ok := root.([]treeMember)
	bad = !ok
	seen := map[string]bool{}
	for _, m := range members {
		bad = bad || seen[m.name] || !slices.Contains(names, m.name)
		seen[m.name] = true
		if m.value == nil {
			continue
		}
		text, isText := m.value.(string)
		number, isNumber := m.value.(numeral)
		named := isText && plainName.MatchString(text) && !bytes.Contains([]byte(text), []byte(".."))
		switch m.name {
		case "model":
			o.model, bad = text, bad || !named
		case "version":
			o.version, bad = text, bad || !named
		case "id":
			o.id, bad = text, bad || !named
		case "seed":
			v, err := strconv.ParseUint(number.text, 10, 53)
			o.seed, o.seeded, bad = v, true, bad || err != nil
		case "deterministic":
			v, ok := m.value.(bool)
			o.deterministic, bad = &v, bad || !ok
		case "ttl_s":
			o.ttl = time.Duration(math.Max(1, number.v*1e9))
			bad = bad || !isNumber || !(number.v > 0) || number.v > maxTTL.Seconds()
		}
	}
	return o, false, bad
}

func compareOpening(data []byte, names []string) error {
	var got opening
	err := decodeMembers(data, names, got.member(time.Hour))
	want, malformed, bad := openingTwin(data, names, time.Hour)
	var det *detailed
	errors.As(err, &det)
	switch {
	case malformed:
		if det == nil || det.fault != faultMalformed {
			return fmt.Errorf("got %v, the twin says that it is no JSON", err)
		}
	case bad:
		if det == nil || det.fault != faultContract {
			return fmt.Errorf("got %v, the twin found a violation", err)
		}
	case err != nil:
		return fmt.Errorf("got %w, the twin found nothing", err)
	default:
		same := (got.deterministic == nil) == (want.deterministic == nil) && (got.deterministic == nil || *got.deterministic == *want.deterministic)
		got.deterministic, want.deterministic = nil, nil
		if !same || got != want {
			return fmt.Errorf("got %+v, the twin %+v", got, want)
		}
	}
	return nil
}

var openings = []string{
	`{}`, ` { } `, `{"model":"a","version":"v1","id":"robot-7","seed":7,"deterministic":true,"ttl_s":0.5}`,
	`{"model":null,"version":null,"id":null,"seed":null,"deterministic":null,"ttl_s":null}`, `{"seed":9007199254740991}`, `{"seed":9007199254740992}`, `{"seed":1e3}`, `{"seed":-0}`, `{"seed":00}`,
	`{"id":"a..b"}`, `{"id":"\u0061"}`, `{"id":""}`, `{"ttl_s":3600}`, `{"ttl_s":3600.0000001}`, `{"ttl_s":1e-12}`, `{"ttl_s":1e999}`, `{"seed":1,"seed":null}`, `{"seed":[[]]}`, `{"x":{"y":[1,2]}}`, `[]`, `null`, `{"id":"a"`, `{} {}`, `{"deterministic":"true"}`,
}

func TestOpeningTwin(t *testing.T) {
	for _, body := range openings {
		for _, names := range [][]string{openingNames, resettingNames} {
			if err := compareOpening([]byte(body), names); err != nil {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
}

func FuzzOpening(f *testing.F) {
	for _, body := range openings {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, names := range [][]string{openingNames, resettingNames} {
			if err := compareOpening(data, names); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
		}
	})
}
