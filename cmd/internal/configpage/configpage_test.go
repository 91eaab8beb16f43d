package configpage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

// reader is a test that Hold may fail.
type reader struct {
	testing.TB
	said []string
}

func (r *reader) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

type tide struct {
	Name   string   `yaml:"name"`
	Height string   `yaml:"height"`
	Shores []string `yaml:"shores"`
	Ebb    ebb      `yaml:"ebb"`
	DryRun bool     `yaml:"-"`
}

type ebb struct {
	Every time.Duration `yaml:"every"`
	Waves int           `yaml:"waves"`
	Quiet bool          `yaml:"quiet"`
}

func fresh() settings.Program {
	config := &tide{Name: "north", Height: "low", Ebb: ebb{Every: 90 * time.Minute, Waves: 3}}
	return settings.Program{
		Name: "ebbtide-tide", Config: config,
		Fields: settings.Fields{
			"name": settings.Text(&config.Name), "height": settings.Text(&config.Height), "shores": settings.Texts(&config.Shores),
			"ebb.every": settings.Duration(&config.Ebb.Every), "ebb.waves": settings.Number(&config.Ebb.Waves), "ebb.quiet": settings.Truth(&config.Ebb.Quiet),
		},
		Variables: []settings.Override{{Name: "TIDE_NAME", Field: "name", Target: &config.Name}},
		Flags:     []settings.Override{{Name: "name", Field: "name", Target: &config.Name}},
		Switches:  map[string]*bool{"dry-run": &config.DryRun},
		Validate: func() error {
			var found settings.Errors
			found.Check("height", settings.Choice(config.Height, []string{"low", "high"}))
			found.Check("ebb.every", settings.Range(config.Ebb.Every, time.Minute, 2*time.Hour))
			found.Check("ebb.waves", settings.Range(config.Ebb.Waves, 1, 9))
			for i, shore := range config.Shores {
				if shore == spoilt {
					found.Check(fmt.Sprintf("shores[%d]", i), fmt.Sprintf("%q has no sand: it is a beach such as a|b", shore))
				}
			}
			return found.OrNil()
		},
	}
}

const (
	values = `
tide:
  # The file.
  config:
    # -- How high it is.
    height: low
    # -- Where it comes to land, one
    # after the other.
    # @default -- nowhere
    shores: []
    # About the ebb.
    ebb:
      # -- The time between two.
      every: 90m
      # -- How many.
      waves: 3
      # -- Without a sound.
      quiet: false
`
	rows = "| field | type | default | may be | also set by | what it says |\n|---|---|---|---|---|---|\n" +
		"| `name` | text | `north` |  | `$TIDE_NAME`, `--name` | Its name. |\n" +
		"| `height` | text | `low` | `low`, `high` |  | How high it is. |\n" +
		"| `shores` | list of text | – | a beach such as a\\|b |  | Where it comes to land, one after the other. |\n" +
		"| `ebb.every` | duration | `1h30m` | `1m` to `2h` |  | The time between two. |\n" +
		"| `ebb.waves` | whole number | `3` | `1` to `9` |  | How many. |\n" +
		"| `ebb.quiet` | true or false | `false` |  |  | Without a sound. |\n"
	page  = "before\n<!-- tide fields: begin -->\n%s<!-- tide fields: end -->\nafter %s\n"
	flags = "`--config FILE` `--check-config` `--dry-run` `--help` `--version`"
)

// The page and the values are found from the working directory, as the tests of a
// program find them.
func TestThePageIsHeldToWhatIsRead(t *testing.T) {
	name := map[string]string{"name": "Its name."}
	for when, c := range map[string]struct {
		rows, flags, values string
		without             map[string]string
		want                string // what the failure says; empty for none
	}{
		"when it says the same":              {rows, flags, values, name, ""},
		"when a field has another default":   {strings.Replace(rows, "`3`", "`4`", 1), flags, values, name, "go test ./cmd/ebbtide-tide -run Configuration -update"},
		"when a field is missing":            {"", flags, values, name, "go test ./cmd/ebbtide-tide -run Configuration -update"},
		"when a flag is not mentioned":       {rows, "`--config FILE` `--check-config` `--help` `--version`", values, name, "does not name the flag --dry-run"},
		"when nobody says what a field is":   {rows, flags, values, nil, "nobody says what name means"},
		"when two say what a field is":       {rows, flags, values, map[string]string{"name": "Its name.", "height": "?"}, "height stands in the chart's values"},
		"when the values say something else": {rows, flags, strings.Replace(values, "How many.", "How few.", 1), name, "few"},
	} {
		t.Run(when, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "docs/configuration.md", fmt.Sprintf(page, c.rows, c.flags))
			write(t, "charts/ebbtide/values.yaml", c.values)
			write(t, "cmd/ebbtide-tide/.keep", "")
			t.Chdir("cmd/ebbtide-tide")
			held := &reader{TB: t}
			program := Program{Name: "tide", Fresh: fresh, Without: c.without}
			Hold(held, program, false)
			said := strings.Join(held.said, "\n")
			if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
				t.Errorf("it says %q, want %q in it", said, c.want)
			}
			Hold(held, program, true)
			held.said = nil
			Hold(held, program, false)
			if said := strings.Join(held.said, "\n"); strings.Contains(said, "behind") {
				t.Errorf("what was written into the page is not what is read: %s", said)
			}
		})
	}
}

func TestWhatAValueIsToldIsWhatItMayBe(t *testing.T) {
	t.Parallel()
	for problem, want := range map[string]string{
		`"?" is not one of a, b`:                             "`a`, `b`",
		`"?" is not aws, the only choice yet`:                "`aws`",
		"-1h0m0s is not between 0s and 1m0s":                 "`0s` to `1m`",
		"-1h0m0s is not between 1ms and 87600h0m0s":          "`1ms` to `87600h`",
		"-1 is not between 1 and 100":                        "`1` to `100`",
		`"?" is not the whole path of a file`:                "the whole path of a file",
		`reading spot mark "?": name part must consist`:      "",
		`"?" has no host: it is an address such as http://h`: "an address such as http://h",
	} {
		if got := rule(problem); got != want {
			t.Errorf("%s: %q, want %q", problem, got, want)
		}
	}
}

// write writes a file and the folders that it is in.
func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
