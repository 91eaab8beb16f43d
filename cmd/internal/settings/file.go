package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Load reads the file at path into fields; what it leaves out keeps its value. What is
// wrong comes back as [Errors], all of it at once, and what is right is set all the
// same. It checks no value by its meaning: flags may still change what the file said.
func Load(path string, fields Fields) (Places, error) {
	content, err := os.ReadFile(path) //nolint:gosec // Reading the file that its user names is what --config is for.
	if err != nil {
		if cause, is := errors.AsType[*fs.PathError](err); is {
			err = cause.Err // The path is the place of the mistake already.
		}
		return nil, Errors{{Place: path, Problem: err.Error()}}
	}
	return Decode(path, content, fields)
}

// Decode reads content as [Load] reads a file; name stands for it in mistakes. The
// YAML library could fill a struct by itself, but stops at the first bad duration,
// names Go types instead of fields, and knows no paths: the tree is walked by hand
// instead.
func Decode(name string, content []byte, fields Fields) (Places, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, next yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return Places{}, nil // Empty, or nothing but comments.
	}
	if err != nil {
		return nil, Errors{syntaxMistake(name, err)}
	}
	r := reader{name: name, fields: fields, places: Places{}}
	for _, root := range document.Content {
		r.group("", root)
	}
	switch err := decoder.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.mistakes = append(r.mistakes, syntaxMistake(name, err))
	default:
		r.add(&next, "", "a second document begins here: the file may hold one")
	}
	return r.places, r.mistakes.OrNil()
}

// Encode returns config, the struct or pointer to it that fields read into, as a file
// that reads back as the same. Its yaml tags have to be those of the fields.
func Encode(config any, fields Fields) string {
	var (
		root yaml.Node
		text strings.Builder
	)
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	// Texts, numbers and a builder: there is nothing to fail.
	_ = root.Encode(config)
	shorten("", &root, fields)
	_ = encoder.Encode(&root)
	return text.String()
}

// Indented returns a file of [Encode]'s as --help shows it.
func Indented(file string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(file), "\n", "\n  ") + "\n"
}

// shorten writes whole hours and minutes as people do: 2160h, not 2160h0m0s.
func shorten(path string, node *yaml.Node, fields Fields) {
	if _, is := fields[path].(duration); is && strings.HasSuffix(node.Value, "m0s") {
		node.Value = strings.TrimSuffix(node.Value, "0s")
		if strings.HasSuffix(node.Value, "h0m") {
			node.Value = strings.TrimSuffix(node.Value, "0m")
		}
	}
	if node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		shorten(strings.TrimPrefix(path+"."+node.Content[i].Value, "."), node.Content[i+1], fields)
	}
}

// reader walks the tree of one file and gathers what is wrong with it.
type reader struct {
	name     string
	fields   Fields
	places   Places
	mistakes Errors
}

// group reads the mapping node, whose fields have paths that begin with prefix.
func (r *reader) group(prefix string, node *yaml.Node) {
	node = resolved(node)
	if node.ShortTag() == "!!null" {
		return // A group whose fields are all commented out.
	}
	if node.Kind != yaml.MappingNode {
		r.add(node, strings.TrimSuffix(prefix, "."), "here stand fields with values: "+r.known(prefix))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		path := prefix + key.Value
		if line, again := first[key.Value]; again {
			r.add(key, plain(path), fmt.Sprintf("is given twice, first in line %d", line))
			continue
		}
		first[key.Value] = key.Line
		r.field(path, prefix, key, value)
	}
}

func (r *reader) field(path, prefix string, key, value *yaml.Node) {
	field, isField := r.fields[path]
	switch {
	// A dot in a name makes it no path: the file has groups for that.
	case isField && !strings.Contains(key.Value, "."):
		r.places[path] = r.place(key)
		field.read(r, path, resolved(value))
	case key.Kind == yaml.ScalarNode && r.known(path+".") != "":
		r.places[path] = r.place(key)
		r.group(path+".", value)
	default:
		r.add(key, plain(path), "unknown field, known here: "+r.known(prefix))
	}
}

// known lists the names that may follow prefix, or nothing if none may.
func (r *reader) known(prefix string) string {
	var names []string
	for path := range r.fields {
		if rest, below := strings.CutPrefix(path, prefix); below {
			name, _, _ := strings.Cut(rest, ".")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

func (r *reader) add(node *yaml.Node, field, problem string) {
	r.mistakes = append(r.mistakes, Mistake{Place: r.place(node), Field: field, Problem: problem})
}

func (r *reader) place(node *yaml.Node) string {
	return fmt.Sprintf("%s:%d", r.name, node.Line)
}

// resolved follows an alias to its anchor.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// plain keeps what came from a file on one line and readable.
func plain(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntaxMistake takes the line out of the library's text, which is the only place
// where the library gives it.
func syntaxMistake(name string, err error) Mistake {
	place, problem := name, strings.Join(strings.Fields(err.Error()), " ")
	if match := syntaxLine.FindStringSubmatch(problem); match != nil {
		problem = problem[len(match[0]):]
		if match[1] != "" {
			place += ":" + match[1]
		}
	}
	return Mistake{Place: place, Problem: "is not YAML: " + problem}
}
