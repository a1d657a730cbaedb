package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A subcommand is a struct: a field with the tag cmd is a subcommand below it, one
// with arg an argument, and each other one with help a flag. Further tags are
//
//	name         its name, where it is not the field's in lower case with hyphens
//	placeholder  what help shows in the place of a flag's value
//	default      the value where none is given
//	env          the variable that has it, where none is given
//	enum         the values that it may have, with commas between them
//	sep          "none" takes the commas of a list's values as they are
//	short        a flag of one letter
//	required     a flag that must be given
//	optional     an argument that may lack
//	negatable    a *bool that --no-NAME makes false
//
// A field without a tag that is a struct has fields that are this one's.

// runner is a subcommand that does something.
type runner interface{ Run(s stdio) error }

// helper is a subcommand with more to say than a line.
type helper interface{ Help() string }

// newCommand makes a command of a struct. What the command line chose goes to
// chosen.
func newCommand(name, about string, target any, chosen *runner) *cobra.Command {
	c := &cobra.Command{Use: name, Short: about, SilenceErrors: true, SilenceUsage: true}
	if h, ok := target.(helper); ok {
		c.Long = h.Help()
	}
	c.Flags().SortFlags = false
	c.Flags().BoolP("help", "h", false, "Show help.")
	p := parameters{command: c, chosen: chosen}
	p.add(reflect.ValueOf(target).Elem())
	usage := []string{name}
	for _, a := range p.arguments {
		c.ValidArgs = append(c.ValidArgs, a.enum...)
		usage = append(usage, a.shown())
	}
	for _, f := range p.required {
		usage = append(usage, withValue(f))
	}
	c.Use = strings.Join(usage, " ")
	r, _ := target.(runner)
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(_ *cobra.Command, args []string) error {
		if r == nil {
			return p.noCommand(args)
		}
		*chosen = r
		return p.take(args)
	}
	return c
}

// parameters are what a command takes.
type parameters struct {
	command   *cobra.Command
	chosen    *runner
	arguments []*parameter
	required  []*pflag.Flag
}

// parameter is a field that the command line sets, as the Value of a flag.
type parameter struct {
	field       reflect.Value
	name        string
	placeholder string
	help        string
	enum        []string
	whole       bool // a list whose values have no commas between them
	optional    bool
	given       bool
	negated     bool // its values mean the opposite
}

func (p *parameters) add(target reflect.Value) {
	for i := range target.NumField() {
		f, v := target.Type().Field(i), target.Field(i)
		if f.Tag == "" {
			if f.Anonymous {
				p.add(v)
			}
			continue
		}
		name := cmp.Or(f.Tag.Get("name"), hyphened(f.Name))
		has := func(tag string) bool { _, ok := f.Tag.Lookup(tag); return ok }
		if has("cmd") {
			p.command.AddCommand(newCommand(name, f.Tag.Get("help"), v.Addr().Interface(), p.chosen))
			continue
		}
		a := &parameter{
			field: v, name: name, placeholder: f.Tag.Get("placeholder"), help: f.Tag.Get("help"),
			whole: f.Tag.Get("sep") == "none", optional: has("optional"),
		}
		if has("enum") {
			a.enum = strings.Split(f.Tag.Get("enum"), ",")
		}
		if d := cmp.Or(os.Getenv(f.Tag.Get("env")), f.Tag.Get("default")); d != "" {
			if err := a.Set(d); err != nil {
				p.defect(name, err)
			}
			a.given = false
		}
		if has("arg") {
			p.arguments = append(p.arguments, a)
			continue
		}
		flag := p.command.Flags().VarPF(a, name, f.Tag.Get("short"), a.help)
		if a.Type() == "bool" {
			flag.NoOptDefVal = "true"
		}
		if has("required") {
			p.required = append(p.required, flag)
		}
		if has("negatable") {
			not := p.command.Flags().VarPF(&parameter{field: v, negated: true}, "no-"+name, "", "The opposite of --"+name+".")
			not.NoOptDefVal = "true"
		}
	}
}

// defect is that of a struct, or of the variable that gives a default.
func (p *parameters) defect(name string, err error) {
	p.command.PreRunE = func(*cobra.Command, []string) error { return fmt.Errorf("%s: %w", name, err) }
}

// take sets the arguments, and looks for what is missing.
func (p *parameters) take(args []string) error {
	for _, a := range p.arguments {
		list := a.field.Kind() == reflect.Slice
		for n := 0; len(args) > 0 && (n == 0 || list); n++ {
			if err := a.Set(args[0]); err != nil {
				return fmt.Errorf("<%s>: %w", a.name, err)
			}
			args = args[1:]
		}
		if !a.given && !a.optional {
			return fmt.Errorf("expected <%s>", a.name)
		}
	}
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %s", oneLine(args[0]))
	}
	var missing []string
	for _, f := range p.required {
		if !f.Changed {
			missing = append(missing, withValue(f))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing flags: %s", strings.Join(missing, ", "))
	}
	return nil
}

// noCommand says which commands there are.
func (p *parameters) noCommand(args []string) error {
	if len(args) > 0 {
		line := "unexpected argument " + oneLine(args[0])
		p.command.SuggestionsMinimumDistance = 2
		if near := p.command.SuggestionsFor(args[0]); len(near) > 0 {
			line += ", did you mean " + strconv.Quote(near[0]) + "?"
		}
		return errors.New(line)
	}
	var names []string
	for _, c := range p.command.Commands() {
		names = append(names, strconv.Quote(c.Name()))
	}
	return fmt.Errorf("expected one of %s", strings.Join(names, ", "))
}

// withValue is a flag as the line of usage has it.
func withValue(f *pflag.Flag) string { return "--" + f.Name + "=" + f.Value.Type() }

// shown is an argument as the line of usage has it.
func (a *parameter) shown() string {
	text := "<" + a.name + ">"
	if a.field.Kind() == reflect.Slice {
		text += " ..."
	}
	if a.optional {
		text = "[" + text + "]"
	}
	return text
}

// Set reads a value. A list that was given replaces one by default.
func (a *parameter) Set(text string) error {
	if a.enum != nil && !slices.Contains(a.enum, text) {
		return fmt.Errorf("expected one of %s", strings.Join(slices.DeleteFunc(slices.Clone(a.enum), func(v string) bool { return v == "" }), ", "))
	}
	if a.field.Kind() != reflect.Slice {
		a.given = true
		if a.negated {
			text = map[string]string{"true": "false", "false": "true"}[text]
		}
		return setValue(a.field, text)
	}
	if !a.given {
		a.field.SetZero()
	}
	a.given = true
	values := []string{text}
	if !a.whole {
		values = strings.Split(text, ",")
	}
	for _, value := range values {
		v := reflect.New(a.field.Type().Elem()).Elem()
		if err := setValue(v, value); err != nil {
			return err
		}
		a.field.Set(reflect.Append(a.field, v))
	}
	return nil
}

// setValue reads a value that is no list.
func setValue(v reflect.Value, text string) error {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if err := setValue(p.Elem(), text); err != nil {
			return err
		}
		v.Set(p)
		return nil
	}
	switch dst := v.Addr().Interface().(type) {
	case *string:
		*dst = text
		return nil
	case *bool:
		return scan(dst, text, "true or false", strconv.ParseBool)
	case *int:
		return scan(dst, text, "a whole number", func(s string) (int, error) {
			n, err := strconv.ParseInt(s, 0, strconv.IntSize)
			return int(n), err
		})
	case *uint64:
		return scan(dst, text, "a whole number, 0 or more", func(s string) (uint64, error) { return strconv.ParseUint(s, 0, 64) })
	case *float64:
		return scan(dst, text, "a number", func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
	case *time.Duration:
		return scan(dst, text, "a time such as 90s or 10m", time.ParseDuration)
	}
	return fmt.Errorf("a field of type %v is none that a command line can set", v.Type())
}

func scan[T any](dst *T, text, what string, parse func(string) (T, error)) error {
	v, err := parse(text)
	if err != nil {
		return fmt.Errorf("expected %s", what)
	}
	*dst = v
	return nil
}

// String is the value by default, which help shows.
func (a *parameter) String() string {
	if a == nil || !a.field.IsValid() || a.field.IsZero() {
		return ""
	}
	if a.field.Kind() != reflect.Slice {
		return fmt.Sprint(a.field.Interface())
	}
	var all []string
	for i := range a.field.Len() {
		all = append(all, fmt.Sprint(a.field.Index(i).Interface()))
	}
	return strings.Join(all, ",")
}

// Type is what help shows in the place of the value.
func (a *parameter) Type() string {
	t := a.field.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Bool {
		return "bool"
	}
	return cmp.Or(a.placeholder, strings.Trim(strings.Join(a.enum, "|"), "|"), strings.ToUpper(a.name))
}

// hyphened is the name of a field in lower case, with a hyphen before each word.
func hyphened(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, c := range letters {
		if i > 0 && unicode.IsUpper(c) && (!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
