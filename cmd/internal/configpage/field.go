package configpage

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// leaf is a field of a configuration that has a value and no fields of its own.
type leaf struct {
	path  string
	value reflect.Value
}

// leaves returns those of the struct that config points to, in the order in which they
// are declared. Prefix is what the path of each begins with.
func leaves(prefix string, config any) []leaf {
	var found []leaf
	group := reflect.ValueOf(config).Elem()
	for i := range group.NumField() {
		name, value := group.Type().Field(i).Tag.Get("yaml"), group.Field(i)
		if value.Kind() == reflect.Struct {
			found = append(found, leaves(prefix+name+".", value.Addr().Interface())...)
		} else {
			found = append(found, leaf{prefix + name, value})
		}
	}
	return found
}

// kind names the type as a user knows it.
func (l leaf) kind() string {
	switch l.value.Interface().(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case int:
		return "whole number"
	case time.Duration:
		return "duration"
	case []string:
		return "list of text"
	default:
		return l.value.Type().String()
	}
}

// standard is the value as a file would give it, or a dash for none.
func (l leaf) standard() string {
	if l.value.Kind() == reflect.String && l.value.Len() == 0 || l.value.Kind() == reflect.Slice && l.value.Len() == 0 {
		return "–"
	}
	return "`" + short(fmt.Sprint(l.value.Interface())) + "`"
}

// spoil sets a value of the type that no field with a rule takes. One that has no rule
// takes it; of truth values there is none to spoil.
func (l leaf) spoil() {
	switch target := l.value.Addr().Interface().(type) {
	case *string:
		*target = spoilt
	case *int:
		*target = -1
	case *time.Duration:
		*target = -time.Hour
	case *[]string:
		*target = []string{spoilt}
	}
}

// spoilt is no name, label, address, path or choice.
const spoilt = "?"

var (
	// A value that is out of place is told what it is not, and by that what it may be;
	// settings.Range and settings.Choice have words of their own for it.
	bounds  = regexp.MustCompile(`^between (\S+) and (\S+)$`)
	choices = regexp.MustCompile(`^one of (.+)$`)
	choice  = regexp.MustCompile(`^(\S+), the only choice yet$`)
)

// rule makes of a problem with a value what a value has to be. It returns "" for one
// that does not say it.
func rule(problem string) string {
	rule := ""
	for _, words := range []string{" is not ", ": it is "} {
		if _, after, found := strings.Cut(problem, words); found {
			rule = after
		}
	}
	switch {
	case bounds.MatchString(rule):
		ends := bounds.FindStringSubmatch(rule)
		return fmt.Sprintf("`%s` to `%s`", short(ends[1]), short(ends[2]))
	case choices.MatchString(rule):
		return "`" + strings.ReplaceAll(choices.FindStringSubmatch(rule)[1], ", ", "`, `") + "`"
	case choice.MatchString(rule):
		return "`" + choice.FindStringSubmatch(rule)[1] + "`"
	}
	return rule
}

// short writes whole minutes and hours of a duration as people do: 1m and not 1m0s.
func short(text string) string {
	if _, err := time.ParseDuration(text); err != nil {
		return text
	}
	if minutes, whole := strings.CutSuffix(text, "m0s"); whole {
		text = minutes + "m"
	}
	if hours, whole := strings.CutSuffix(text, "h0m"); whole {
		text = hours + "h"
	}
	return text
}
