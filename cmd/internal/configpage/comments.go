package configpage

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// valuesPath is where the chart's values are for the package of a program.
const valuesPath = "../../charts/ebbtide/values.yaml"

// comments returns what the chart's values say of each field of a program's
// configuration, by its path.
func comments(t testing.TB, program string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(valuesPath)
	if err != nil {
		t.Fatal(err)
	}
	var values yaml.Node
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, root := range values.Content {
		if config := entry(entry(root, program), "config"); config != nil {
			gather(said, "", config)
		}
	}
	if len(said) == 0 {
		t.Fatalf("the chart's values say nothing of %s.config", program)
	}
	return said
}

// entry returns the value of a key in a mapping, and nil if there is none.
func entry(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// gather collects the comments of a mapping's keys, whose paths begin with prefix.
func gather(said map[string]string, prefix string, mapping *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		if text := description(key.HeadComment); text != "" {
			said[prefix+key.Value] = text
		}
		if value.Kind == yaml.MappingNode {
			gather(said, prefix+key.Value+".", value)
		}
	}
}

// description is the part of a comment that helm-docs takes: from two dashes on, but
// for the lines that are for helm-docs itself.
func description(comment string) string {
	var words []string
	begun := false
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		if rest, begins := strings.CutPrefix(line, "-- "); begins {
			words, begun, line = nil, true, rest
		}
		if begun && !strings.HasPrefix(line, "@") {
			words = append(words, strings.TrimSpace(line))
		}
	}
	return strings.TrimSpace(strings.Join(words, " "))
}
