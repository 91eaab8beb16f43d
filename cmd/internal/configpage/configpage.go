// Package configpage holds docs/configuration.md to what the programs read. It is for
// their tests.
package configpage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

// path is where the page is for the package of a program.
const path = "../../docs/configuration.md"

// Program is a program whose file, flags and variables the page tells of.
type Program struct {
	// Name is what its part of the page and of the chart's values is called ("agent").
	Name string
	// Fresh returns the program as it is before anything was said to it, a new one each
	// time. Its Config has to point to a struct.
	Fresh func() settings.Program
	// Without says what the fields mean that the chart's values do not have, because the
	// pod gives them.
	Without map[string]string
}

// Hold fails the test unless the page has the table of the program's fields, between
// two comments with the program's name, and names each of its flags. What a field says
// is taken from the chart's values, what it may be from the mistake that a value is
// which it may not. With update it writes the table into the page.
func Hold(t testing.TB, program Program, update bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+program.Name+" fields: begin -->\n", "<!-- "+program.Name+" fields: end -->\n"
	before, rest, found := strings.Cut(string(text), begin)
	got, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		t.Fatalf("docs/configuration.md has no part between %q and %q", begin, end)
	}
	want := table(t, program)
	if update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o600); err != nil { //nolint:gosec // G703: the path is a constant
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/configuration.md is behind (-want +got); write it with: go test ./cmd/ebbtide-%s -run Configuration -update\n%s",
			program.Name, diff)
	}
	for _, flag := range program.Fresh().FlagNames() {
		if !strings.Contains(string(text), "`--"+flag) {
			t.Errorf("docs/configuration.md does not name the flag --%s", flag)
		}
	}
}

// table is one of Markdown, with a row for each field in the order of the file.
func table(t testing.TB, program Program) string {
	t.Helper()
	said := comments(t, program.Name)
	for field, says := range program.Without {
		if said[field] != "" {
			t.Errorf("%s stands in the chart's values, which say what it means", field)
		}
		said[field] = says
	}
	fresh := program.Fresh()
	lines := []string{"| field | type | default | may be | also set by | what it says |\n|---|---|---|---|---|---|\n"}
	for _, field := range leaves("", fresh.Config) {
		if fresh.Fields[field.path] == nil {
			continue // A flag only: no file can set it.
		}
		if said[field.path] == "" {
			t.Errorf("nobody says what %s means: neither a comment in the chart's values nor the caller", field.path)
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", field.path, field.kind(), field.standard(),
			cell(allowed(program, field.path)), setBy(fresh, field.path), cell(said[field.path])))
	}
	if len(lines) != len(fresh.Fields)+1 {
		t.Errorf("the table has %d fields, and the file %d", len(lines)-1, len(fresh.Fields))
	}
	return strings.Join(lines, "")
}

// setBy lists the variables and flags that stand for the field, the weaker first.
func setBy(program settings.Program, field string) string {
	var names []string
	for _, variable := range program.Variables {
		if variable.Field == field {
			names = append(names, "`$"+variable.Name+"`")
		}
	}
	for _, flag := range program.Flags {
		if flag.Field == field {
			names = append(names, "`--"+flag.Name+"`")
		}
	}
	return strings.Join(names, ", ")
}

// cell keeps text within its cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// allowed says what the field may be: what a value is told that it is not. It is empty
// where any value of the type will do, and where a mistake does not say what would be
// none.
func allowed(program Program, path string) string {
	fresh := program.Fresh()
	fields := leaves("", fresh.Config)
	fields[slices.IndexFunc(fields, func(field leaf) bool { return field.path == path })].spoil()
	mistakes, are := errors.AsType[settings.Errors](fresh.Validate())
	if !are {
		return ""
	}
	for _, mistake := range mistakes {
		if mistake.Field == path || strings.HasPrefix(mistake.Field, path+"[") {
			return rule(mistake.Problem)
		}
	}
	return ""
}
