package server

import (
	"maps"
	"slices"
	"strings"
)

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// hostileBodies are bodies of 64 KiB and less that promise more than they hold.
func hostileBodies() map[string]string {
	const size = 32 << 10
	fill := func(head, part, tail string) string { return head + strings.Repeat(part, size/len(part)) + tail }
	infer := func(shape, data string) string {
		return `{"inputs":[{"name":"observation","shape":` + shape + `,"datatype":"FP32","data":` + data + `}]}`
	}
	binary := func(shape, size string) string {
		return `{"inputs":[{"name":"observation","shape":` + shape + `,"datatype":"FP32","parameters":{"binary_data_size":` + size + `}}]}`
	}
	array := func(shape string) string {
		return "\x81\xabobservation\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x04\x00\x00\x80\x3f\xc4\x05dtype\xa3<f4\xc4\x05shape" + shape
	}
	return map[string]string{
		"rows of nothing":          fill(`{"observations":[`, `{},`, `{}]}`),
		"rows of null":             fill(`{"observations":[`, `null,`, `null]}`),
		"rows of empty lists":      fill(`{"observations":[`, `[],`, `[]]}`),
		"rows of one number":       fill(`{"observations":[`, `[1],`, `[1]]}`),
		"rows of empty bytes":      fill(`{"observations":[`, `{"base64":""},`, `{}]}`),
		"numbers in place of rows": fill(`{"obs":[`, `1,`, `1]}`),
		"lists in lists":           strings.Repeat(`[`, size),
		"objects in objects":       strings.Repeat(`{"observations":`, size/16),
		"lists in an observation":  fill(`{"observations":`, `[`, ``),
		"starts":                   fill(`{"episode_start":[`, `true,`, `true]}`),
		"masks":                    fill(`{"action_masks":[`, `[1],`, `[1]]}`),
		"names":                    fill(`{"return":[`, `"value",`, `"value"]}`),
		"members":                  fill(`{`, `"a":1,`, `"a":1}`),
		"escapes":                  fill(`{"`, `\u0041`, `":1}`),
		"digits":                   fill(`{"observations":[[`, `9`, `]]}`),
		"digits behind a point":    fill(`{"observations":[[0.`, `0`, `1]]}`),
		"an exponent":              fill(`{"observations":[[1e`, `9`, `]]}`),
		"shape of nothing":         `{"observations":[{"sensors":{"base64":"","shape":[2147483647,2147483647]}}]}`,
		"shape without an end":     fill(`{"observations":[{"sensors":{"base64":"","shape":[`, `1,`, `1]}}]}`),

		"infer: rows of nothing":      infer(`[100000,5]`, `[]`),
		"infer: a product beyond 64":  infer(`[4294967296,4294967296,4294967296]`, `[1]`),
		"infer: a negative dimension": infer(`[-1,5]`, `[1,2,3,4,5]`),
		"infer: 2^63":                 infer(`[9223372036854775807]`, `[1]`),
		"infer: dimensions":           infer(fill(`[`, `1,`, `1]`), `[1]`),
		"infer: inputs":               fill(`{"inputs":[`, `{"name":"a"},`, `{}]}`),
		"infer: outputs":              fill(`{"inputs":[],"outputs":[`, `{"name":"action"},`, `{}]}`),
		"infer: data in data":         infer(`[1,4]`, strings.Repeat(`[`, size)),
		"infer: strings":              infer(`[1,4]`, fill(`[`, `"a",`, `"a"]`)),
		"infer: 2 GiB of binary":      binary(`[1,536870912]`, `2147483647`),
		"infer: binary of 2^63":       binary(`[1,4]`, `9223372036854775807`),

		"msgpack: map of 2^32":        "\x81\xabobservation\xdf\xff\xff\xff\xff",
		"msgpack: array of 2^32":      "\x81\xabobservation\xdd\xff\xff\xff\xff",
		"msgpack: rows of 2^32":       "\x81\xacobservations\xdd\xff\xff\xff\xff" + strings.Repeat("\x80", 1000),
		"msgpack: rows of nil":        "\x81\xacobservations\xdc\x7d\x00" + strings.Repeat("\xc0", 32000),
		"msgpack: rows of nothing":    "\x81\xacobservations\xdc\x7d\x00" + strings.Repeat("\x80", 32000),
		"msgpack: bytes of 2^32":      "\x81\xabobservation\xc6\xff\xff\xff\xff",
		"msgpack: text of 2^32":       "\x81\xdb\xff\xff\xff\xffobservation",
		"msgpack: extension of 2^32":  "\x81\xabobservation\xc9\xff\xff\xff\xff\x01",
		"msgpack: maps in maps":       strings.Repeat("\x81\xa1a", size/3),
		"msgpack: arrays in arrays":   "\x81\xabobservation" + strings.Repeat("\x91", size),
		"msgpack: array of 2^62":      array("\x92\xce\x80\x00\x00\x00\xce\x80\x00\x00\x00"),
		"msgpack: negative array":     array("\x91\xff"),
		"msgpack: dimensions":         array("\xdc\x7d\x00" + strings.Repeat("\x01", 32000)),
		"msgpack: array of objects":   "\x81\xabobservation\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x08\x80\x04K\x01.\x00\x00\x00\xc4\x05dtype\xa1O\xc4\x05shape\x91\x01",
		"msgpack: arrays without end": "\x81\xabobservation\xdc\x7d\x00" + strings.Repeat("\x90", 32000),
	}
}
