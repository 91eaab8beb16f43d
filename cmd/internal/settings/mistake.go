package settings

import (
	"errors"
	"slices"
	"strings"
)

// Mistake is one thing in a configuration that cannot be.
type Mistake struct {
	// Place is where it stands ("agent.yaml:3", "--listen", "$NODE_NAME"); empty
	// when it stands nowhere, such as a name that is missing.
	Place string
	// Field is the path of the field or group ("drain.volumeDetach",
	// "lifecycle.spotLabels[0]"); empty when the mistake belongs to none.
	Field string
	// Problem says what is wrong, on one line.
	Problem string
}

// String returns the mistake on one line.
func (m Mistake) String() string {
	parts := slices.DeleteFunc([]string{m.Place, m.Field, m.Problem}, func(part string) bool { return part == "" })
	return strings.Join(parts, ": ")
}

// Errors is all that is wrong with a configuration, as one error.
type Errors []Mistake

// Error returns all mistakes on one line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, mistake := range e {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "; ")
}

// Check adds the mistake that field has this problem; an empty problem is none.
func (e *Errors) Check(field, problem string) {
	if problem != "" {
		*e = append(*e, Mistake{Field: field, Problem: problem})
	}
}

// OrNil returns the mistakes as an error, and nil if there is none.
func (e Errors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// about says whether one of the mistakes is about field or something in it: what
// could not be read was not left out as well.
func (e Errors) about(field string) bool {
	return slices.ContainsFunc(e, func(mistake Mistake) bool {
		rest, within := strings.CutPrefix(mistake.Field, field)
		return within && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// found returns the mistakes in err; one that is not made of mistakes becomes one.
func found(err error) Errors {
	if err == nil {
		return nil
	}
	if mistakes, are := errors.AsType[Errors](err); are {
		return mistakes
	}
	return Errors{{Problem: err.Error()}}
}

// Places says of each field, group and element of a list that was set where that was.
type Places map[string]string
