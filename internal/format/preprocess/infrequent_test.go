package preprocess_test

import (
	"encoding/binary"
	"math"
	"strconv"
	"testing"

	"github.com/carla-rl/carla-rl-serving/internal/format/preprocess"
)

// array is a pickled array of float64, of at most 31 numbers.
func array(values ...float64) string {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(v))
	}
	return global("numpy._core.multiarray", "_reconstruct") + tup(global("numpy", "ndarray"), tup("I0\n"), "C\x01b") + "R" +
		tup("I1\n", tup("I"+strconv.Itoa(len(values))+"\n"), dtype("f8"), no, "C"+string([]byte{byte(len(data))})+string(data)) + "b"
}

// dtype is a pickled type of numpy.
func dtype(descr string) string {
	return global("numpy", "dtype") + tup(str(descr), no, yes) + "R" + tup("I3\n", str("<"), none, none, none, "I-1\n", "I-1\n", "I0\n") + "b"
}

// rising are n numbers, each greater than the one before.
func rising(n int) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = float64(i)
	}
	return values
}

// rare are the attributes of an encoder of two columns, {1, 3, 5} and {-1, 0.5},
// that was fitted with rare categories: 3 in the first column, and none in the
// other. What follows replaces some of them; an empty text leaves one out.
func rare(class string, changes ...string) string {
	attrs := []string{
		"categories_", seq(array(1, 3, 5), array(-1, 0.5)), "handle_unknown", str("infrequent_if_exist"),
		"_infrequent_enabled", yes, "_infrequent_indices", seq(array(1), none), "_default_to_infrequent_mappings", seq(array(0, 2, 1), none),
		"_drop_idx_after_grouping", none, "drop_idx_", none, "_n_features_outs", seq("I3\n", "I2\n"),
	}
	if class == ordinal {
		attrs = append(attrs, "_missing_indices", dict(), "dtype", global("numpy", "float64"), "unknown_value", none)
		changes = append([]string{"handle_unknown", str("error")}, changes...)
	}
	for i := 0; i < len(changes); i += 2 {
		found := false
		for j := 0; j < len(attrs); j += 2 {
			if attrs[j] == changes[i] {
				attrs[j+1], found = changes[i+1], true
			}
		}
		if !found {
			attrs = append(attrs, changes[i], changes[i+1])
		}
	}
	var kept []string
	for i := 0; i < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			kept = append(kept, attrs[i], attrs[i+1])
		}
	}
	return of(class, kept...)
}

// TestRareCategories: the rare ones share the last column, also where there is one
// of them alone, and a number that is no category has it where the encoder says so.
func TestRareCategories(t *testing.T) {
	f := func(name, in string, x, want []float64) {
		t.Helper()
		check(t, decode(t, in+"."), [][]float64{x}, [][]float64{want})
		if t.Failed() {
			t.Fatal(name)
		}
	}
	f("one rare category", rare(oneHot), []float64{3, 0.5}, []float64{0, 0, 1, 0, 1})
	f("one that is not rare", rare(oneHot), []float64{5, -1}, []float64{0, 1, 0, 1, 0})
	f("none of them, beside one that is rare", rare(oneHot), []float64{2, 2}, []float64{0, 0, 1, 0, 0})
	f("none of them, with a warning", rare(oneHot, "handle_unknown", str("warn")), []float64{2, 2}, []float64{0, 0, 1, 0, 0})
	f("none of them, ignored", rare(oneHot, "handle_unknown", str("ignore")), []float64{2, 2}, []float64{0, 0, 0, 0, 0})
	f("all are rare", rare(oneHot, "_infrequent_indices", seq(array(0, 1, 2), none), "_default_to_infrequent_mappings", seq(array(0, 0, 0), none),
		"_n_features_outs", seq("I1\n", "I2\n")), []float64{2, 2}, []float64{1, 0, 0})
	f("the rare ones are dropped", rare(oneHot, "_drop_idx_after_grouping", seq("I2\n", none), "_n_features_outs", seq("I2\n", "I2\n")), []float64{3, -1}, []float64{0, 0, 1, 0})
	f("one before them is dropped", rare(oneHot, "_drop_idx_after_grouping", seq("I0\n", none), "_n_features_outs", seq("I2\n", "I2\n")), []float64{3, -1}, []float64{0, 1, 1, 0})
	f("fitted again without", rare(oneHot, "_infrequent_enabled", no), []float64{3, 0.5}, []float64{0, 1, 0, 0, 1})
	f("drop_idx_ alone", rare(oneHot, "_drop_idx_after_grouping", "", "drop_idx_", seq("I0\n", none), "_n_features_outs", seq("I2\n", "I2\n")),
		[]float64{5, -1}, []float64{1, 0, 1, 0})
	// As 1.1.0 to 1.2.1 write drop="first" where the first category is rare: code 0 is that of 3.
	firstIsRare := []string{"_infrequent_indices", seq(array(0), none), "_default_to_infrequent_mappings", seq(array(2, 0, 1), none),
		"_drop_idx_after_grouping", "", "drop_idx_", seq("I0\n", "I0\n"), "_n_features_outs", seq("I2\n", "I1\n")}
	for x, want := range map[float64][]float64{1: {0, 1, 1}, 3: {0, 0, 1}, 5: {1, 0, 1}} {
		f("the first code, where the first category is rare", rare(oneHot, firstIsRare...), []float64{x, 0.5}, want)
	}
	f("drop_idx_ alone, of the rare ones", rare(oneHot, "_drop_idx_after_grouping", "", "drop_idx_", seq("I2\n", none), "_n_features_outs", seq("I2\n", "I2\n")),
		[]float64{3, -1}, []float64{0, 0, 1, 0})
	f("codes", rare(ordinal), []float64{3, 0.5}, []float64{2, 1})
	f("codes beside a missing one", rare(ordinal, "categories_", seq(array(1, 3, 5, math.NaN()), array(-1, 0.5)), "_missing_indices", "}(I0\nI3\nu"), []float64{5, 0.5}, []float64{1, 1})
	f("codes beside a missing one that is not the last", rare(ordinal, "categories_", seq(list(math.NaN(), 3, 5), array(-1, 0.5)), "_infrequent_enabled", no,
		"_missing_indices", "}(I0\nI0\nu"), []float64{5, 0.5}, []float64{2, 1})
	f("codes beside that of what is none of them", rare(ordinal, "handle_unknown", str("use_encoded_value"), "unknown_value", "I-5\n"), []float64{4, 0.5}, []float64{-5, 1})
}

// TestTypesOfCodes: a type is one of numpy, or of Python, an instance, or a name,
// as numpy.dtype takes it, and holds the codes that there are.
func TestTypesOfCodes(t *testing.T) {
	types := []string{dtype("f4"), dtype("i1"), global("numpy", "uint16"), global("numpy", "uint64"), global("builtins", "int"), global("__builtin__", "long"), global("builtins", "float")}
	for _, name := range []string{"int", "float", "f4", "i8", "<f8", "half", "d", "uint8", "float64", "longlong"} {
		types = append(types, str(name))
	}
	for _, of := range types {
		check(t, decode(t, rare(ordinal, "dtype", of)+"."), [][]float64{{3, 0.5}}, [][]float64{{2, 1}})
	}
	// max_categories=2 of 200, whose codes are 0 and 1.
	mapping := make([]float64, 200)
	for i := range mapping[1:] {
		mapping[1+i] = 1
	}
	in := object(ordinal, "handle_unknown", str("error"), "categories_", seq(list(append(rising(200), math.NaN())...)), "_infrequent_enabled", yes,
		"_infrequent_indices", seq(list(rising(200)[1:]...)), "_default_to_infrequent_mappings", seq(list(mapping...)), "_missing_indices", "}(I0\nI200\nu", "dtype", global("numpy", "int8"))
	check(t, decode(t, in+"."), [][]float64{{0}, {1}, {199}}, [][]float64{{0}, {1}, {1}})
}

// TestEncodersThatContradictThemselves: scikit-learn computes with most of these,
// by whatever it happens to look at first. They are refused.
func TestEncodersThatContradictThemselves(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		guarded(t, func() error {
			_, err := preprocess.Decode([]byte(in + "."))
			return refused(err, want)
		})
	}
	const indices, mappings, enabled, widths = "_infrequent_indices", "_default_to_infrequent_mappings", "_infrequent_enabled", "_n_features_outs"
	// Whether there are rare ones, which they are, and their codes.
	f(rare(oneHot, enabled, ""), "_infrequent_indices is there and _infrequent_enabled is not")
	f(rare(oneHot, enabled, "", indices, ""), "_default_to_infrequent_mappings is there and _infrequent_enabled is not")
	f(rare(oneHot, enabled, "I7\n"), "_infrequent_enabled is a int, a bool was wanted")
	f(rare(oneHot, indices, ""), "has no _infrequent_indices")
	f(rare(oneHot, mappings, ""), "has no _default_to_infrequent_mappings")
	f(rare(oneHot, indices, seq(none)), "_infrequent_indices are a list, a list of 2 was wanted")
	f(rare(oneHot, mappings, "I1\n"), "_default_to_infrequent_mappings are a int, a list of 2 was wanted")
	f(rare(oneHot, indices, seq(none, none)), "_infrequent_indices[0] is a None and _default_to_infrequent_mappings[0] is a")
	f(rare(oneHot, mappings, seq(none, none)), "and _default_to_infrequent_mappings[0] is a None")
	f(rare(oneHot, indices, seq(array(2), none)), "_default_to_infrequent_mappings[0][1] is 2, and by _infrequent_indices[0] it is 1")
	f(rare(oneHot, indices, seq(array(1, 2), none)), "_default_to_infrequent_mappings[0][1] is 2, and by _infrequent_indices[0] it is 1")
	f(rare(oneHot, indices, seq(array(2, 1), none)), "_infrequent_indices[0][1] is 1 behind 2")
	f(rare(oneHot, indices, seq(array(1, 1), none)), "_infrequent_indices[0][1] is 1 behind 1")
	f(rare(oneHot, indices, seq(array(3), none)), "_infrequent_indices[0][0] is 3, a whole number below 3")
	f(rare(oneHot, indices, seq(array(-1), none)), "_infrequent_indices[0][0] is -1")
	f(rare(oneHot, indices, seq(array(0.5), none)), "_infrequent_indices[0][0] is 0.5")
	f(rare(oneHot, indices, seq(array(), none)), "_infrequent_indices[0] is empty")
	f(rare(oneHot, indices, seq("I1\n", none)), "_infrequent_indices[0] has shape []")
	f(rare(oneHot, mappings, seq(array(0, 2), none)), "_default_to_infrequent_mappings[0] has 2 codes for 3 categories")
	f(rare(oneHot, mappings, seq(array(0, 2, 1, 1), none)), "_default_to_infrequent_mappings[0] has shape [4]")
	f(rare(oneHot, mappings, seq(array(0, 1, 1), none)), "_default_to_infrequent_mappings[0][1] is 1, and by")
	f(rare(oneHot, mappings, seq(array(1, 2, 0), none)), "_default_to_infrequent_mappings[0][0] is 1, and by")
	f(rare(oneHot, mappings, seq(array(0, 3, 1), none)), "_default_to_infrequent_mappings[0][1] is 3")
	f(rare(oneHot, mappings, seq(array(0, math.NaN(), 1), none)), "_default_to_infrequent_mappings[0][1] is NaN")
	// The room that each column has.
	f(rare(oneHot, enabled, no, widths, seq("I2\n", "I2\n")), "_n_features_outs[0] is 2, and its categories have 3 columns")
	f(rare(oneHot, widths, seq("I3\n", "I3\n")), "_n_features_outs[1] is 3, and its categories have 2 columns")
	f(rare(oneHot, widths, seq("I3\n")), "_n_features_outs are a list, a list of 2 was wanted")
	f(rare(oneHot, widths, seq("I3\n", none)), "_n_features_outs[1] is a None")
	f(rare(oneHot, widths, none), "_n_features_outs are a None")
	// What is dropped.
	f(rare(oneHot, "_drop_idx_after_grouping", seq("I3\n", none)), "_drop_idx_after_grouping[0] is 3, and there are 3 categories")
	f(rare(oneHot, "_drop_idx_after_grouping", seq("I0\n", none)), "_n_features_outs[0] is 3, and its categories have 2 columns")
	f(rare(oneHot, "_drop_idx_after_grouping", seq(none)), "_drop_idx_after_grouping has 1 columns")
	f(encoder(oneHot, "drop_idx_", seq("I5\n", none)), "drop_idx_[0] is 5, and there are 3 categories")
	f(encoder(oneHot, "drop_idx_", seq(list(0), list(0))), "drop_idx_[0] is a list")
	// The categories, which are searched by halves.
	categories := func(class string, column string) string {
		return rare(class, "categories_", seq(column, array(-1, 0.5)), enabled, no)
	}
	for _, class := range []string{oneHot, ordinal} {
		f(categories(class, array(1, 5, 3)), "categories_[0]: [2] is 3 behind 5, rising numbers were wanted")
		f(categories(class, array(1, 3, 3)), "categories_[0]: [2] is 3 behind 3")
		f(categories(class, array(1, math.NaN(), 5)), "categories_[0]: [2] is 5 behind NaN")
		f(categories(class, array(1, math.NaN(), math.NaN())), "categories_[0]: [2] is NaN behind NaN")
		f(categories(class, array(0, math.Copysign(0, -1), 1)), "categories_[0]: [1] is -0 behind 0")
		f(categories(class, list(3, 1, 3)), "categories_[0]: 3 is there twice")
		f(categories(class, array(1, 1<<24, 1<<24+1)), "which are one number in float32")
	}
	// Codes.
	f(rare(ordinal, "_missing_indices", seq()), "_missing_indices is a list")
	f(rare(ordinal, "_missing_indices", "}(I0\nI2\nu"), "_missing_indices[0] is not the place of NaN")
	for _, place := range []string{"I0\n", "I3\n", "I-1\n", "F1.5\n", "Fnan\n", none} {
		f(rare(ordinal, "categories_", seq(list(1, math.NaN(), 5), array(-1, 0.5)), "_infrequent_enabled", no, "_missing_indices", "}(I0\n"+place+"u"),
			"_missing_indices[0] is not the place of NaN")
	}
	f(rare(ordinal, "_missing_indices", "}(I2\nI2\nu"), "_missing_indices has a key that is none of 2 columns")
	unknown := func(value string) string {
		return rare(ordinal, "handle_unknown", str("use_encoded_value"), "unknown_value", value)
	}
	f(unknown("F0.5\n"), "unsupported: unknown_value that is no whole number")
	f(unknown("Finf\n"), "unsupported: unknown_value that is no whole number")
	f(unknown("I-16777216\n"), "unsupported: unknown_value -1.6777216e+07, which is not exact in float32")
	f(rare(ordinal, "dtype", global("numpy", "bool")), "unsupported: codes from 0 to 2 as dtype bool")
	f(rare(ordinal, "dtype", global("numpy", "uint8"), "handle_unknown", str("use_encoded_value"), "unknown_value", "I-1\n"), "unsupported: codes from -1 to 2 as dtype uint8")
	f(rare(ordinal, "dtype", str("S8")), "unsupported: codes from 0 to 2 as dtype S8")
	f(rare(ordinal, "dtype", dtype("O8")), "unsupported: codes from 0 to 2 as dtype O8")
	f(rare(ordinal, "dtype", object(imputer)), "unsupported: codes from 0 to 2 as dtype "+imputer)
	f(of(ordinal, "categories_", seq(list(rising(129)...), list(1)), "dtype", str("i1")), "unsupported: codes from 0 to 128 as dtype i1")
	f(rare(ordinal, "dtype", none), "unsupported: codes from 0 to 2 as dtype None")
}

// TestBinsAndTheirEncoder: a discretizer gives the numbers of its bins to an
// encoder that was fitted to them, and one that was not is refused.
func TestBinsAndTheirEncoder(t *testing.T) {
	discretizer := func(encoder string) string {
		return object(bins, "encode", str("onehot-dense"), "bin_edges_", seq(list(0, 1, 2, 3), list(0, 5, 9)), "n_features_in_", "I2\n", "_encoder", encoder)
	}
	inner := func(changes ...string) string {
		return rare(oneHot, append([]string{"categories_", seq(array(0, 1, 2), array(0, 1)), "handle_unknown", str("error"), "_infrequent_enabled", no}, changes...)...)
	}
	check(t, decode(t, discretizer(inner())+"."), [][]float64{{1.5, 7}}, [][]float64{{0, 1, 0, 0, 1}})
	f := func(encoder, want string) {
		t.Helper()
		_, err := preprocess.Decode([]byte(discretizer(encoder) + "."))
		if err := refused(err, want); err != nil {
			t.Error(err)
		}
	}
	f(none, "_encoder is a None, a OneHotEncoder was wanted")
	f(scaler, "a OneHotEncoder was wanted")
	f(inner("_n_features_outs", seq("I2\n", "I2\n")), "_encoder: _n_features_outs[0] is 2")
	f(inner("categories_", seq(array(0, 2, 1), array(0, 1))), "_encoder: categories_[0]: [2] is 1 behind 2")
	f(inner("categories_", seq(array(0, 1, 3), array(0, 1))), "_encoder does not put bin 2 of column 0 into its column")
	f(inner("categories_", seq(array(0, 1), array(0, 1, 2)), "_n_features_outs", seq("I2\n", "I3\n")), "_encoder has 2 categories for the 3 bins of column 0")
	f(inner("_infrequent_enabled", yes), "_encoder does not put bin 1 of column 0 into its column")
	f(inner("_drop_idx_after_grouping", seq("I0\n", none), "_n_features_outs", seq("I2\n", "I2\n")), "_encoder does not put bin 0 of column 0 into its column")
	one := object(oneHot, "handle_unknown", str("error"), "categories_", seq(array(0, 1, 2)), "n_features_in_", "I1\n")
	f(one, "_encoder has 1 columns, 2 were wanted")
}

// TestWhatFollowsIsHeld: attributes that a fit works out of others agree with
// them, or the file is refused, as it is where one of them was changed.
func TestWhatFollowsIsHeld(t *testing.T) {
	good := func(in string) {
		t.Helper()
		decode(t, in+".")
	}
	f := func(in, want string) {
		t.Helper()
		guarded(t, func() error {
			_, err := preprocess.Decode([]byte(in + "."))
			return refused(err, want)
		})
	}
	degrees := func(degree, low, high, out, full string) string {
		return of(poly, "degree", degree, "interaction_only", no, "include_bias", yes, "_min_degree", low, "_max_degree", high, "n_output_features_", out, "_n_out_full", full)
	}
	good(degrees("I2\n", "I0\n", "I2\n", "I6\n", "I6\n"))
	good(degrees(tup("I2\n", "I3\n"), "I2\n", "I3\n", "I8\n", "I10\n"))
	f(degrees("I3\n", "I0\n", "I2\n", "I6\n", "I6\n"), "_max_degree is 2, and by the rest of the file it is 3")
	f(degrees("I2\n", "I1\n", "I2\n", "I6\n", "I6\n"), "_min_degree is 1, and by the rest of the file it is 0")
	f(degrees("I2\n", "I0\n", "I2\n", "I7\n", "I6\n"), "n_output_features_ is 7, and by the rest of the file it is 6")
	f(degrees("I2\n", "I0\n", "I2\n", "I6\n", "I7\n"), "_n_out_full is 7, and by the rest of the file it is 6")
	f(degrees("I2\n", "I0\n", none, "I6\n", "I6\n"), "_max_degree is a None, a number was wanted")

	chosen := func(columnsOf, numbers string, more ...string) string {
		return of(columns, append(more, "transformers_", seq(tup(str("x"), str("passthrough"), columnsOf)), "_transformer_to_input_indices", dict("x", numbers))...)
	}
	names := []string{"feature_names_in_", seq(str("a"), str("b"))}
	good(chosen(seq("I1\n", "I0\n"), seq("I1\n", "I0\n")))
	good(chosen(seq("I-1\n"), seq("I1\n")))
	good(chosen(seq(no, yes), seq("I1\n")))
	good(chosen(seq(str("b")), seq("I1\n"), names...))
	good(chosen(seq(str("c")), seq("I1\n"))) // names that are not kept
	f(chosen(seq("I1\n", "I0\n"), seq("I0\n", "I1\n")), `_transformer_to_input_indices["x"] are [0 1], and the transformer has the columns [1 0]`)
	f(chosen(seq(str("b")), seq("I0\n"), names...), `_transformer_to_input_indices["x"] are [0], and the transformer has the columns [1]`)
	f(chosen(seq("I1\n"), seq("I2\n")), `_transformer_to_input_indices["x"]: columns are not at most`)

	filled := func(dtype string, a, b float64) string {
		return of(imputer, "statistics_", list(a, b), "_fill_dtype", dtype)
	}
	good(filled(dtype("f8"), 1.5, 2))
	f(filled(dtype("i8"), 1, 2.5), "unsupported: a statistic of 2.5, number 1, as _fill_dtype i8")
	good(filled(dtype("i8"), 1<<40, -3))
	good(filled(dtype("i1"), 127, -128))
	good(filled(dtype("u1"), 255, 0))
	good(filled(dtype("u8"), 1<<62, 0))
	good(filled(dtype("O8"), 0.1, 1e9))
	good(filled(dtype("f16"), 0.1, 1e9))
	f(filled(dtype("i1"), 1, 128), "unsupported: a statistic of 128, number 1, as _fill_dtype i1")
	f(filled(dtype("u1"), -1, 1), "unsupported: a statistic of -1, number 0, as _fill_dtype u1")
	f(filled(dtype("u2"), 65536, 1), "unsupported: a statistic of 65536, number 0, as _fill_dtype u2")
	f(filled(dtype("i8"), 1<<63, 1), "unsupported: a statistic of 9.223372036854776e+18, number 0, as _fill_dtype i8")
	f(filled(dtype("f2"), 1, 65520), "unsupported: a statistic of 65520, number 1, as _fill_dtype f2")
	f(filled(dtype("U8"), 1, 2), `unsupported: _fill_dtype "U8"`)
	f(filled(none, 1, 2), "_fill_dtype is a None")
	f(of(imputer, "missing_values", "I-1\n", "statistics_", list(math.NaN(), math.NaN()), "keep_empty_features", yes),
		"unsupported: statistics_[0] is NaN beside keep_empty_features, so that what is missing would become NaN")
	indicates := func(missing string, changes ...string) string {
		return of(imputer, "missing_values", "I-1\n", "statistics_", list(5, 6), "add_indicator", yes, "indicator_", of(indicator, append(changes, "missing_values", missing)...))
	}
	good(indicates("I-1\n", "features_", list(0, 1), "_n_features", "I2\n"))
	f(indicates("I-2\n", "features_", list(0)), "indicator_: missing_values is -2 and that of the imputer is -1")
	f(indicates("I-1\n", "features_", list(1, 0)), "indicator_: features_[1] is 0 behind 1")
	f(indicates("I-1\n", "features_", list(0), "_n_features", "I1\n"), "indicator_: _n_features is 1, and by the rest of the file it is 2")

	f(object(ica, "components_", seq(list(1, 2)), "mean_", list(1, 1), "whiten", str("")), "unsupported: whiten")
	f(object(ica, "components_", seq(list(1, 2)), "mean_", list(1, 1), "whiten", "I0\n"), "unsupported: whiten")
	running := func(mean, variance string) string {
		return object("gymnasium.wrappers.utils.RunningMeanStd", "mean", mean, "var", variance, "count", num(9))
	}
	good(running(list(1, 2), list(4, 9)))
	f(object(ica, "components_", seq(list(1, 2)), "mean_", list(1, 1), "whiten", scalar("U2", "<", "n\x00\x00\x00o\x00\x00\x00")), "unsupported: whiten")
	deviations := func(values ...float64) string {
		return dict("_mean", list(1, 2), "_var", list(4, 9), "_std", list(values...), "count", num(9))
	}
	good(deviations(2, 3))
	good(deviations(2.0058, 2.9913)) // as bfloat16 rounds
	f(deviations(2.01, 3), "_std[0] is 2.01, and the root of _var[0] is 2")
	f(deviations(2, 4), "_std[1] is 4, and the root of _var[1] is 3")
	f(deviations(2), "_std has 1 values, _var has 2")
	f(running(list(1, 2), seq(list(4), list(9))), "means of shape [2] and variances of shape [2 1]")
}
