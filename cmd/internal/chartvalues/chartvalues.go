// Package chartvalues holds the configuration in the chart's values.yaml to what the
// programs read. It is for their tests.
package chartvalues

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

// path is where the values are for the package of a program.
const path = "../../charts/ebbtide/values.yaml"

// Read reads the configuration of a program ("agent") into its fields, as the program
// reads it in the cluster. It fails the test unless every field stands there but those
// in without, which the pod gives, so that the values document them all.
func Read(t testing.TB, program string, fields settings.Fields, without ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]yaml.Node
	var part struct{ Config yaml.Node }
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	own := values[program]
	if err := own.Decode(&part); err != nil {
		t.Fatal(err)
	}
	file, err := yaml.Marshal(&part.Config)
	if err != nil {
		t.Fatal(err)
	}
	places, err := settings.Decode("charts/ebbtide/values.yaml: "+program+".config", file, fields)
	if err != nil {
		t.Fatal(err)
	}
	given := slices.DeleteFunc(slices.Sorted(maps.Keys(places)), func(field string) bool { return fields[field] == nil })
	want := slices.DeleteFunc(slices.Sorted(maps.Keys(fields)), func(field string) bool { return slices.Contains(without, field) })
	if diff := cmp.Diff(want, given); diff != "" {
		t.Errorf("%s.config in the chart's values (-fields of the program +fields there):\n%s", program, diff)
	}
}
