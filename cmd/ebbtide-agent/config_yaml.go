package main

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
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Load reads the file at path over Default. What is wrong with the file comes back
// as ConfigErrors, all of them at once, together with the Config as far as it could be
// read. It does not validate: flags may still change what the file said.
func Load(path string) (Config, error) {
	content, err := os.ReadFile(path) //nolint:gosec // Reading the file that its user names is what --config is for.
	if err != nil {
		if cause, is := errors.AsType[*fs.PathError](err); is {
			err = cause.Err // The path is the place of the mistake already.
		}
		return Default(), ConfigErrors{{Place: path, Problem: err.Error()}}
	}
	return decode(path, content)
}

// decode reads content over Default; name stands for it in mistakes. The YAML
// library could fill Config by itself, but stops at the first bad duration, names Go
// types instead of fields, and knows no paths: the tree is walked by hand instead.
func decode(name string, content []byte) (Config, error) {
	config := Default()
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, next yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return config, nil // Empty, or nothing but comments.
	}
	if err != nil {
		return config, ConfigErrors{syntaxMistake(name, err)}
	}
	reader := fileReader{name: name, fields: config.fields(), places: places{}}
	for _, root := range document.Content {
		reader.group("", root)
	}
	switch err := decoder.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		reader.mistakes = append(reader.mistakes, syntaxMistake(name, err))
	default:
		reader.add(&next, "", "a second document begins here: the file may hold one")
	}
	config.places = reader.places
	return config, reader.mistakes.orNil()
}

// file returns the configuration as a file that reads back as the same.
func (c Config) file() string {
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	_ = encoder.Encode(c) // Texts, numbers and a builder: there is nothing to fail.
	return text.String()
}

// fields maps the path of each field of the file to what reads it. A test holds it
// to the fields that Config has.
func (c *Config) fields() map[string]readValue {
	return map[string]readValue{
		"nodeName":           text(&c.NodeName),
		"provider":           text(&c.Provider),
		"aws.endpoint":       text(&c.AWS.Endpoint),
		"aws.allowIMDSv1":    truth(&c.AWS.AllowIMDSv1),
		"aws.pollInterval":   duration(&c.AWS.PollInterval),
		"drain.daemonSets":   truth(&c.Drain.DaemonSets),
		"drain.volumeDetach": duration(&c.Drain.VolumeDetach),
		"drain.concurrency":  number(&c.Drain.Concurrency),
		"drain.handOver":     text(&c.Drain.HandOver),
		"listen":             text(&c.Listen),
		"log.level":          text(&c.Log.Level),
		"log.format":         text(&c.Log.Format),
		"kubeconfig":         text(&c.Kubeconfig),
	}
}

// readValue reads one scalar and returns what is wrong with it, or nothing.
type readValue func(*yaml.Node) string

func text(target *string) readValue {
	return func(node *yaml.Node) string {
		if node.ShortTag() != "!!str" {
			return plain(node.Value) + " is not text: put it in quotes"
		}
		*target = node.Value
		return ""
	}
}

func truth(target *bool) readValue {
	return func(node *yaml.Node) string {
		if node.ShortTag() != "!!bool" || node.Decode(target) != nil {
			return fmt.Sprintf("%q is not true or false", node.Value)
		}
		return ""
	}
}

func number(target *int) readValue {
	return func(node *yaml.Node) string {
		if node.ShortTag() != "!!int" || node.Decode(target) != nil {
			return fmt.Sprintf("%q is not a whole number", node.Value)
		}
		return ""
	}
}

func duration(target *time.Duration) readValue {
	return func(node *yaml.Node) string {
		value, err := time.ParseDuration(node.Value)
		if err != nil {
			return fmt.Sprintf("%q is not a duration such as 12s", node.Value)
		}
		*target = value
		return ""
	}
}

// fileReader walks the tree of one file and gathers what is wrong with it.
type fileReader struct {
	name     string
	fields   map[string]readValue
	places   places
	mistakes ConfigErrors
}

// group reads the mapping node, whose fields have paths that begin with prefix.
func (r *fileReader) group(prefix string, node *yaml.Node) {
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

func (r *fileReader) field(path, prefix string, key, value *yaml.Node) {
	read, isField := r.fields[path]
	switch {
	// A dot in a name makes it no path: the file has groups for that.
	case isField && !strings.Contains(key.Value, "."):
		r.places[path] = r.place(key)
		r.scalar(path, read, resolved(value))
	case key.Kind == yaml.ScalarNode && r.known(path+".") != "":
		r.group(path+".", value)
	default:
		r.add(key, plain(path), "unknown field, known here: "+r.known(prefix))
	}
}

func (r *fileReader) scalar(path string, read readValue, node *yaml.Node) {
	switch {
	case node.Kind != yaml.ScalarNode:
		r.add(node, path, "is a list or a group where one value belongs")
	case node.ShortTag() == "!!null":
		r.add(node, path, "has no value: leave the field out to keep its default")
	default:
		if problem := read(node); problem != "" {
			r.add(node, path, problem)
		}
	}
}

// known lists the names that may follow prefix, or nothing if none may.
func (r *fileReader) known(prefix string) string {
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

func (r *fileReader) add(node *yaml.Node, field, problem string) {
	r.mistakes = append(r.mistakes, Mistake{Place: r.place(node), Field: field, Problem: problem})
}

func (r *fileReader) place(node *yaml.Node) string {
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
