// Package ebbtide_test holds the rules of the house that no linter knows. They are
// read from the files of the repository, so that they hold for code of every module
// and every build tag.
package ebbtide_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// file is one file of the repository, with its path from the root.
type file struct {
	path string
	text string
}

func TestNoFileNamesTheRealMetadataAddressOutsideItsOneConstant(t *testing.T) {
	t.Parallel()
	found := violations(readRepository(t), namesMetadataAddress)
	report(t, found)
}

func TestEveryErrorSaysWhatWasBeingDone(t *testing.T) {
	t.Parallel()
	report(t, violations(readRepository(t), wordsErrorsBadly))
}

func TestNoGoFileIsLongerThanAReaderCanHold(t *testing.T) {
	t.Parallel()
	report(t, violations(readRepository(t), isTooLong))
}

func TestNoPackageIsCalledAfterNothing(t *testing.T) {
	t.Parallel()
	report(t, violations(readRepository(t), isNamedAfterNothing))
}

func TestEveryFileThatAGuideNamesIsThere(t *testing.T) {
	t.Parallel()
	files := readRepository(t)
	report(t, violations(files, func(f file) []string { return namesMissingPath(files, f) }))
}

func TestEveryMakeTargetThatIsNamedIsThere(t *testing.T) {
	t.Parallel()
	files := readRepository(t)
	at := slices.IndexFunc(files, func(f file) bool { return f.path == "Makefile" })
	if at < 0 {
		t.Fatal("there is no Makefile")
	}
	targets := makeTargets(files[at].text)
	report(t, violations(files, func(f file) []string { return namesMissingTarget(targets, f) }))
}

// The rules are only worth something if each can fail: this breaks each once.
func TestEachRuleFindsWhatItForbids(t *testing.T) {
	t.Parallel()
	type rule func(file) []string
	repository := []file{{path: "drain/plan.go"}}
	paths := func(f file) []string { return namesMissingPath(repository, f) }
	targets := func(f file) []string { return namesMissingTarget(makeTargets("test: ## Run.\n"), f) }
	source := func(body string) string { return "package x\n\nfunc f() error {\n" + body + "\n}\n" }

	cases := map[string]struct {
		rule rule
		file file
		want int
	}{
		"the address in a test":                       {namesMetadataAddress, file{"agent/aws/poll_test.go", "http://" + metadataAddress}, 1},
		"the address in its second constant":          {namesMetadataAddress, file{"agent/aws/endpoint.go", metadataAddress + "\n" + metadataAddress}, 1},
		"the address in its one constant":             {namesMetadataAddress, file{"agent/aws/endpoint.go", metadataAddress}, 0},
		"the address in a page for people":            {namesMetadataAddress, file{"docs/aws.md", metadataAddress}, 0},
		"the address on a page of the end-to-end lab": {namesMetadataAddress, file{"e2e/lab/README.md", metadataAddress}, 1},
		"an error that only says that it failed":      {wordsErrorsBadly, file{"a.go", source(`return fmt.Errorf("failed to read node: %w", err)`)}, 1},
		"an error that says that it is an error":      {wordsErrorsBadly, file{"a.go", source(`return errors.New("error reading node")`)}, 1},
		"an error that a test's server gives":         {wordsErrorsBadly, file{"a_test.go", source(`return errors.New("failed to call webhook")`)}, 0},
		"a quoted value in quotes of its own":         {wordsErrorsBadly, file{"a.go", source(`return fmt.Errorf("reading node '%s': %w", n, err)`)}, 1},
		"an error of two lines":                       {wordsErrorsBadly, file{"a.go", source(`return fmt.Errorf("reading\nnode: %w", err)`)}, 1},
		"an error that names the deed and its object": {wordsErrorsBadly, file{"a.go", source(`return fmt.Errorf("reading node %q: %w", n, err)`)}, 0},
		"a file of 401 lines":                         {isTooLong, file{"a.go", strings.Repeat("\n", 401)}, 1},
		"a file of 400 lines":                         {isTooLong, file{"a.go", strings.Repeat("\n", 400)}, 0},
		"a package called util":                       {isNamedAfterNothing, file{"drain/util/a.go", "package util\n"}, 1},
		"a package called after what it does":         {isNamedAfterNothing, file{"drain/a.go", "package drain\n"}, 0},
		"a guide to a file that is not there":         {paths, file{"CONTRIBUTING.md", "edit `drain/gone.go`"}, 1},
		"a guide to a file that is there":             {paths, file{"CONTRIBUTING.md", "edit `drain/plan.go` in `drain/`"}, 0},
		"a command that make does not know":           {targets, file{"README.md", "`make tset`"}, 1},
		"a command that make knows":                   {targets, file{"README.md", "`make test`"}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.rule(c.file); len(got) != c.want {
				t.Errorf("%d violations, want %d: %q", len(got), c.want, got)
			}
		})
	}
}

// metadataAddress is composed, so that this file is not the first to break its rule.
var metadataAddress = strings.Join([]string{"169", "254", "169", "254"}, ".")

// namesMetadataAddress finds the address where a test, a demo or a script could ask
// it. One constant of the source may hold it, and pages for people may speak of it.
// metadataConstants are the files that hold the address, once: the clouds have chosen the
// same.
var metadataConstants = []string{"agent/aws/endpoint.go", "agent/azure/endpoint.go", "agent/gcp/endpoint.go"}

func namesMetadataAddress(f file) []string {
	allowed := 0
	switch {
	case strings.HasSuffix(f.path, ".md") && !strings.HasPrefix(f.path, "e2e/"):
		return nil
	case slices.Contains(metadataConstants, f.path):
		allowed = 1
	}
	if n := strings.Count(f.text, metadataAddress); n > allowed {
		return []string{fmt.Sprintf("%s: names the real metadata address %d times, may %d times", f.path, n, allowed)}
	}
	return nil
}

var badWording = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\b(failed to|unable to|could not|couldn't)\b|^error\b|: error\b`), `say what was being done: "reading node %q: %w"`},
	{regexp.MustCompile(`['"]%[sv]['"]`), "use %q"},
	{regexp.MustCompile(`\n`), "an error is one line"},
	{regexp.MustCompile(`[.!]$`), "an error is part of a sentence, and does not end one"},
}

// wordsErrorsBadly finds texts given to errors.New and fmt.Errorf that tell the
// reader that something went wrong, which an error says by being one. Tests may: they
// quote what servers say.
func wordsErrorsBadly(f file) []string {
	if !strings.HasSuffix(f.path, ".go") || strings.HasSuffix(f.path, "_test.go") {
		return nil
	}
	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, f.path, f.text, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		text, is := errorText(node)
		if !is {
			return true
		}
		for _, wording := range badWording {
			if wording.pattern.MatchString(text) {
				found = append(found, fmt.Sprintf("%s: error %q: %s", positions.Position(node.Pos()), text, wording.instead))
			}
		}
		return true
	})
	return found
}

// errorText returns the text of an error that node makes, if it makes one.
func errorText(node ast.Node) (string, bool) {
	call, is := node.(*ast.CallExpr)
	if !is || len(call.Args) == 0 {
		return "", false
	}
	function, is := call.Fun.(*ast.SelectorExpr)
	if !is {
		return "", false
	}
	packageName, is := function.X.(*ast.Ident)
	if !is || !slices.Contains([]string{"errors.New", "fmt.Errorf"}, packageName.Name+"."+function.Sel.Name) {
		return "", false
	}
	literal, is := call.Args[0].(*ast.BasicLit)
	if !is || literal.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

const maxLines = 400

func isTooLong(f file) []string {
	if n := strings.Count(f.text, "\n"); strings.HasSuffix(f.path, ".go") && n > maxLines {
		return []string{fmt.Sprintf("%s: %d lines, at most %d", f.path, n, maxLines)}
	}
	return nil
}

var namedAfterNothing = regexp.MustCompile(`(?m)^package (utils?|common|helpers?|types|misc|shared)(_test)?$`)

func isNamedAfterNothing(f file) []string {
	if !strings.HasSuffix(f.path, ".go") {
		return nil
	}
	if name := namedAfterNothing.FindString(f.text); name != "" {
		return []string{f.path + ": " + name + " says nothing about what is in it"}
	}
	return nil
}

// guidePath is a path in backticks: it has a slash and, unless it is a folder, a
// suffix. Placeholders such as agent/<cloud>/ do not match.
var guidePath = regexp.MustCompile("`((?:\\.?[a-z0-9_-]+/)+(?:[A-Za-z0-9_.-]+\\.[a-z]+)?)`")

func namesMissingPath(repository []file, f file) []string {
	if f.path != "README.md" && f.path != "CONTRIBUTING.md" {
		return nil
	}
	var found []string
	for _, match := range guidePath.FindAllStringSubmatch(f.text, -1) {
		name := match[1]
		built := strings.HasPrefix(name, "out/") || strings.HasPrefix(name, "bin/")
		there := slices.ContainsFunc(repository, func(other file) bool {
			return other.path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(other.path, name)
		})
		if !there && !built {
			found = append(found, f.path+": names "+name+", which is not there")
		}
	}
	return found
}

var (
	makeRule    = regexp.MustCompile(`(?m)^([a-z0-9-]+):`)
	makeCommand = regexp.MustCompile("(?m)(?:`|^ *(?:\\$ |step )?)make ([a-z0-9-]+)")
)

func makeTargets(makefile string) []string {
	var targets []string
	for _, match := range makeRule.FindAllStringSubmatch(makefile, -1) {
		targets = append(targets, match[1])
	}
	return targets
}

func namesMissingTarget(targets []string, f file) []string {
	if !strings.HasSuffix(f.path, ".md") && f.path != ".ci/run" {
		return nil
	}
	var found []string
	for _, match := range makeCommand.FindAllStringSubmatch(f.text, -1) {
		if !slices.Contains(targets, match[1]) {
			found = append(found, f.path+": make has no target "+match[1])
		}
	}
	return found
}

func violations(files []file, rule func(file) []string) []string {
	var found []string
	for _, f := range files {
		found = append(found, rule(f)...)
	}
	return found
}

func report(t *testing.T, found []string) {
	t.Helper()
	for _, violation := range found {
		t.Error(violation)
	}
}

// readRepository returns every text file below the root, except what was built or
// fetched.
func readRepository(t *testing.T) []file {
	t.Helper()
	files, err := readFiles(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("the repository is empty: the rules would hold for nothing")
	}
	return files
}

func readFiles(root fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Removed while we walk: an editor's or a build's temporary file.
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "out"}, name) {
				return fs.SkipDir
			}
			return nil
		}
		content, err := fs.ReadFile(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %q: %w", name, err)
		}
		files = append(files, file{path: name, text: string(content)})
		return nil
	})
	return files, err
}

func TestTheWalkSeesHiddenFoldersAndNoBuildOutput(t *testing.T) {
	t.Parallel()
	files, err := readFiles(fstest.MapFS{
		".ci/run":            {Data: []byte("make test")},
		"bin/ebbtide-agent":  {Data: []byte("binary")},
		"out/demo.json":      {Data: []byte("{}")},
		"e2e/lab/bin/kept.x": {Data: []byte("kept")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.path)
	}
	if want := []string{".ci/run", "e2e/lab/bin/kept.x"}; !slices.Equal(paths, want) {
		t.Errorf("read %q, want %q", paths, want)
	}
}
