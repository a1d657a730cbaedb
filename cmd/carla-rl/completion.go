package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionCmd prints the completion script of a shell. The words are those
// of the command line itself, so that the script cannot fall behind it.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help tells how to load the script.
func (c *completionCmd) Help() string {
	return `Load it for this session, or put the line into your shell's start file:
  bash:  source <(carla-rl completion bash)
  zsh:   source <(carla-rl completion zsh)
  fish:  carla-rl completion fish | source`
}

// completion is a command with the words that may follow it.
type completion struct {
	path  string // "check config"; empty for the program itself
	words []completionWord
}

type completionWord struct{ word, help string }

// completions walks the commands below one.
func completions(of *cobra.Command, path string) []completion {
	c := completion{path: path}
	var below []completion
	for _, child := range of.Commands() {
		c.words = append(c.words, completionWord{child.Name(), firstSentence(child.Short)})
		below = append(below, completions(child, strings.TrimSpace(path+" "+child.Name()))...)
	}
	of.Flags().VisitAll(func(f *pflag.Flag) {
		c.words = append(c.words, completionWord{"--" + f.Name, firstSentence(f.Usage)})
	})
	for _, v := range of.ValidArgs {
		if v != "" {
			c.words = append(c.words, completionWord{v, ""})
		}
	}
	return append([]completion{c}, below...)
}

func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, ".")
	return strings.NewReplacer("'", "", ":", "", "[", "(", "]", ")").Replace(s)
}

// Run prints the script.
func (c *completionCmd) Run(s stdio) error {
	all := completions(commandLine(nil, new(runner)), "")
	switch c.Shell {
	case "bash":
		bashCompletion(s.out, all)
	case "zsh":
		zshCompletion(s.out, all)
	case "fish":
		fishCompletion(s.out, all)
	}
	return nil
}

func bashCompletion(w io.Writer, all []completion) {
	fmt.Fprint(w, `# bash completion of carla-rl
_carla_rl() {
  local cur=${COMP_WORDS[COMP_CWORD]} path= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${path:+$path }${COMP_WORDS[i]}" in
`)
	writePaths(w, all, `      %s) path="${path:+$path }${COMP_WORDS[i]}" ;;`+"\n")
	fmt.Fprint(w, `    esac
  done
  local words=
  case $path in
`)
	for _, c := range all {
		names := make([]string, len(c.words))
		for i, word := range c.words {
			names[i] = word.word
		}
		fmt.Fprintf(w, "    %q) words=%q ;;\n", c.path, strings.Join(names, " "))
	}
	fmt.Fprint(w, `  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  [[ $cur == -* ]] || mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
}
complete -o filenames -F _carla_rl carla-rl
`)
}

func zshCompletion(w io.Writer, all []completion) {
	fmt.Fprint(w, `#compdef carla-rl
_carla_rl() {
  local path_= i
  for ((i = 2; i < CURRENT; i++)); do
    case "${path_:+$path_ }${words[i]}" in
`)
	writePaths(w, all, `      %s) path_="${path_:+$path_ }${words[i]}" ;;`+"\n")
	fmt.Fprint(w, `    esac
  done
  local -a choices
  case $path_ in
`)
	for _, c := range all {
		fmt.Fprintf(w, "    %q) choices=(", c.path)
		for _, word := range c.words {
			fmt.Fprintf(w, " '%s:%s'", word.word, word.help)
		}
		fmt.Fprint(w, " ) ;;\n")
	}
	fmt.Fprint(w, `  esac
  _describe 'carla-rl' choices
  _files
}
compdef _carla_rl carla-rl
`)
}

func fishCompletion(w io.Writer, all []completion) {
	fmt.Fprint(w, "# fish completion of carla-rl\n")
	for _, c := range all {
		condition := "__fish_use_subcommand"
		if c.path != "" {
			var seen []string
			for name := range strings.FieldsSeq(c.path) {
				seen = append(seen, "__fish_seen_subcommand_from "+name)
			}
			condition = strings.Join(seen, "; and ")
		}
		for _, word := range c.words {
			option := "-a " + word.word
			if flag, ok := strings.CutPrefix(word.word, "--"); ok {
				option = "-l " + flag
			}
			fmt.Fprintf(w, "complete -c carla-rl -n '%s' %s -d '%s'\n", condition, option, word.help)
		}
	}
}

// writePaths writes a line for the path of every command.
func writePaths(w io.Writer, all []completion, format string) {
	paths := make([]string, 0, len(all))
	for _, c := range all {
		if c.path != "" {
			paths = append(paths, `"`+c.path+`"`)
		}
	}
	slices.Sort(paths)
	fmt.Fprintf(w, format, strings.Join(paths, "|"))
}
