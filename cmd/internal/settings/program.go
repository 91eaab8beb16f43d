package settings

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
)

// exitUsage is the exit code for a mistake of the caller's, as in flag and cobra.
const exitUsage = 2

// The flags that every program has.
const (
	configFlag  = "config"
	checkFlag   = "check-config"
	versionFlag = "version"
	helpFlag    = "help"
)

// Program is what can be said to a program, and where it goes. The variables that
// Fields, Variables, Flags and Switches point to hold the defaults before [Program.Parse].
type Program struct {
	// Name begins every line on stderr, and what --version prints.
	Name string
	// Version follows the name.
	Version string
	// Usage is what --help prints.
	Usage string
	// Config is a pointer to the struct that Fields read into; --check-config prints it.
	Config any
	// Fields are those of the file.
	Fields Fields
	// Variables of the environment win over the file unless they are empty; Flags win
	// over both, also when they are empty.
	Variables, Flags []Override
	// Switches are flags that are no field of the file, by name.
	Switches map[string]*bool
	// Validate says what the program cannot work with, as [Errors] without places: they
	// are filled in. It is called when everything was read.
	Validate func() error
}

// Override is a flag or an environment variable that stands for a field of text.
type Override struct {
	// Name is the flag's, without dashes, or the variable's.
	Name string
	// Field is the path of the field, for mistakes.
	Field string
	// Target is what the field reads into.
	Target *string
}

// FlagNames lists every flag that Parse knows, without dashes.
func (p Program) FlagNames() []string {
	names := []string{configFlag, checkFlag, versionFlag, helpFlag}
	for _, override := range p.Flags {
		names = append(names, override.Name)
	}
	names = slices.AppendSeq(names, maps.Keys(p.Switches))
	slices.Sort(names)
	return names
}

// Parse reads the file that args name, the environment over it and args over both. If
// done is true there is nothing to run: what was asked for, or what is wrong, has been
// printed, and the process should end with code.
func (p Program) Parse(args []string, getenv func(string) string, stdout, stderr io.Writer) (code int, done bool) {
	line := newCommandLine(p)
	if err := line.set.Parse(args); errors.Is(err, flag.ErrHelp) {
		say(stdout, "%s", p.Usage)
		return 0, true
	} else if err != nil {
		return p.complain(stderr, err), true
	}
	if line.version {
		say(stdout, "%s %s\n", p.Name, p.Version)
		return 0, true
	}
	if mistakes := p.settle(line, getenv); len(mistakes) > 0 {
		return p.complain(stderr, mistakes), true
	}
	if line.check {
		say(stdout, "%s", Encode(p.Config, p.Fields))
		return 0, true
	}
	return 0, false
}

// commandLine is what was typed.
type commandLine struct {
	set            *flag.FlagSet
	config         string
	check, version bool
	// texts are the values of Program.Flags, in their order. They wait here until the
	// file has been read, which they win over.
	texts []*string
}

func newCommandLine(p Program) *commandLine {
	line := &commandLine{set: flag.NewFlagSet(p.Name, flag.ContinueOnError)}
	line.set.SetOutput(io.Discard)
	line.set.StringVar(&line.config, configFlag, "", "")
	line.set.BoolVar(&line.check, checkFlag, false, "")
	line.set.BoolVar(&line.version, versionFlag, false, "")
	for name, target := range p.Switches {
		line.set.BoolVar(target, name, *target, "")
	}
	for _, override := range p.Flags {
		line.texts = append(line.texts, line.set.String(override.Name, "", ""))
	}
	return line
}

// settle puts the environment over the file and the flags over both, and returns
// everything that is wrong with the result.
func (p Program) settle(line *commandLine, getenv func(string) string) Errors {
	var mistakes Errors
	given := map[string]bool{}
	line.set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if line.set.NArg() > 0 {
		mistakes = append(mistakes, Mistake{Problem: fmt.Sprintf("%q is not a flag, and nothing after it was read", line.set.Arg(0))})
	}

	places := Places{}
	switch {
	case given[configFlag] && line.config == "":
		mistakes = append(mistakes, Mistake{Place: "--" + configFlag, Problem: "names no file"})
	case given[configFlag]:
		read, err := Load(line.config, p.Fields)
		maps.Copy(places, read)
		mistakes = append(mistakes, found(err)...)
	}
	for _, over := range p.Variables {
		if value := getenv(over.Name); value != "" {
			*over.Target, places[over.Field] = value, "$"+over.Name
		}
	}
	for i, over := range p.Flags {
		if given[over.Name] {
			*over.Target, places[over.Field] = *line.texts[i], "--"+over.Name
		}
	}
	unread := slices.Clone(mistakes)
	for _, mistake := range found(p.Validate()) {
		if mistake.Field != "" && unread.about(mistake.Field) {
			continue
		}
		mistake.Place = places[mistake.Field]
		mistakes = append(mistakes, mistake)
	}
	return mistakes
}

// complain says err on one line and returns the exit code for it.
func (p Program) complain(stderr io.Writer, err error) int {
	say(stderr, "%s: %s\n", p.Name, err)
	return exitUsage
}

// say writes to a terminal or a pipe. If nobody reads it any more, there is nobody
// left to tell.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}
