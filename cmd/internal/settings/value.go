package settings

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// Fields maps the path of each field of a file ("log.level") to what reads it. A name
// within a path has no dot.
type Fields map[string]Value

// Value reads what a field of a file says into a variable. [Text], [Truth], [Number],
// [Duration] and [Texts] make one.
type Value interface {
	// read sets the variable, or tells the reader what is wrong with the node.
	read(to *reader, path string, node *yaml.Node)
}

// Text reads text. A number or a truth value has to be in quotes to be text.
func Text(target *string) Value {
	return scalar(func(node *yaml.Node) string {
		if node.ShortTag() != "!!str" {
			return plain(node.Value) + " is not text: put it in quotes"
		}
		*target = node.Value
		return ""
	})
}

// Truth reads true or false.
func Truth(target *bool) Value {
	return scalar(func(node *yaml.Node) string {
		if node.ShortTag() != "!!bool" || node.Decode(target) != nil {
			return fmt.Sprintf("%q is not true or false", node.Value)
		}
		return ""
	})
}

// Number reads a whole number.
func Number(target *int) Value {
	return scalar(func(node *yaml.Node) string {
		if node.ShortTag() != "!!int" || node.Decode(target) != nil {
			return fmt.Sprintf("%q is not a whole number", node.Value)
		}
		return ""
	})
}

// Duration reads a duration as Go writes them, with its unit.
func Duration(target *time.Duration) Value {
	return duration{scalar(func(node *yaml.Node) string {
		value, err := time.ParseDuration(node.Value)
		if err != nil {
			return fmt.Sprintf("%q is not a duration such as 12s", node.Value)
		}
		*target = value
		return ""
	})}
}

// Texts reads a list of text. An empty list sets the target to nil. An element that
// cannot be read leaves an empty one in its place, so that the others keep theirs.
func Texts(target *[]string) Value { return texts{target} }

// scalar reads one value and returns what is wrong with it, or nothing.
type scalar func(*yaml.Node) string

func (s scalar) read(to *reader, path string, node *yaml.Node) {
	switch {
	case node.Kind != yaml.ScalarNode:
		to.add(node, path, "is a list or a group where one value belongs")
	case node.ShortTag() == "!!null":
		to.add(node, path, "has no value: leave the field out to keep its default")
	default:
		if problem := s(node); problem != "" {
			to.add(node, path, problem)
		}
	}
}

// duration is a scalar that [Encode] knows how to shorten.
type duration struct{ scalar }

type texts struct{ target *[]string }

func (t texts) read(to *reader, path string, node *yaml.Node) {
	switch {
	case node.ShortTag() == "!!null":
		to.add(node, path, "has no value: leave the field out to keep its default")
		return
	case node.Kind != yaml.SequenceNode:
		to.add(node, path, "is not a list: put a dash before each element, or brackets around them")
		return
	}
	var list []string
	for i, element := range node.Content {
		var value string
		at := fmt.Sprintf("%s[%d]", path, i)
		to.places[at] = to.place(element)
		if element = resolved(element); element.ShortTag() == "!!null" {
			to.add(element, at, "has no value")
		} else {
			Text(&value).read(to, at, element)
		}
		list = append(list, value)
	}
	*t.target = list
}
