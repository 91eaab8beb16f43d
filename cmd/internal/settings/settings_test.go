package settings

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unset(string) string { return "" }

// sample is a configuration with a field of every kind.
type sample struct {
	Name   string        `yaml:"name"`
	Labels []string      `yaml:"labels"`
	Life   life          `yaml:"life"`
	Log    Log           `yaml:"log"`
	Wait   time.Duration `yaml:"wait"`
	Quiet  bool          `yaml:"-"`
}

type life struct {
	Long   time.Duration `yaml:"long"`
	Rounds int           `yaml:"rounds"`
	Own    bool          `yaml:"own"`
}

func (s *sample) fields() Fields {
	return Fields{
		"name":        Text(&s.Name),
		"labels":      Texts(&s.Labels),
		"life.long":   Duration(&s.Life.Long),
		"life.rounds": Number(&s.Life.Rounds),
		"life.own":    Truth(&s.Life.Own),
		"log.level":   Text(&s.Log.Level),
		"log.format":  Text(&s.Log.Format),
		"wait":        Duration(&s.Wait),
	}
}

// validate finds fault with every label, with a group, and with a name that is missing.
func (s *sample) validate() error {
	var mistakes Errors
	if s.Name == "" {
		mistakes.Check("name", "is missing")
	}
	for i, label := range s.Labels {
		if !strings.Contains(label, "=") {
			mistakes.Check(fmt.Sprintf("labels[%d]", i), "has no =")
		}
	}
	if s.Life.Rounds < 0 {
		mistakes.Check("life", "goes backwards")
	}
	if s.Life.Rounds < -1 {
		mistakes.Check("life", "goes backwards fast")
	}
	return mistakes.OrNil()
}

func (s *sample) program() Program {
	return Program{
		Name: "sample", Version: "v1", Usage: "how to use it\n", Config: s, Fields: s.fields(),
		Variables: []Override{{Name: "NAME", Field: "name", Target: &s.Name}},
		Flags: []Override{
			{Name: "name", Field: "name", Target: &s.Name},
			{Name: "log-level", Field: "log.level", Target: &s.Log.Level},
		},
		Switches: map[string]*bool{"quiet": &s.Quiet},
		Validate: func() error { return s.validate() },
	}
}

func TestWhatIsReadIsWhatTheFileSays(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		file string
		want sample
	}{
		"a list in brackets":             {file: "labels: [a=b, 'c d']", want: sample{Labels: []string{"a=b", "c d"}}},
		"a list with dashes":             {file: "labels:\n- a=b\n- c=d\n", want: sample{Labels: []string{"a=b", "c=d"}}},
		"an element by its alias":        {file: "name: &n a=b\nlabels: [*n]", want: sample{Name: "a=b", Labels: []string{"a=b"}}},
		"an empty list takes away":       {file: "labels: []", want: sample{}},
		"a list that is left out stays":  {file: "wait: 2h", want: sample{Labels: []string{"default"}, Wait: 2 * time.Hour}},
		"days are written in hours":      {file: "life: {long: 2160h}\nlabels: []", want: sample{Life: life{Long: 2160 * time.Hour}}},
		"a group may be an alias":        {file: "life: &l {own: true}\nlabels: []", want: sample{Life: life{Own: true}}},
		"a group may hold no field":      {file: "life: {}\nlabels: []", want: sample{}},
		"the same list by two brackets":  {file: "labels: [\n  a=b,\n]", want: sample{Labels: []string{"a=b"}}},
		"text that looks like a number":  {file: "labels: ['7']", want: sample{Labels: []string{"7"}}},
		"a group and a field after that": {file: "life:\n  rounds: 3\nname: x\nlabels: []", want: sample{Name: "x", Life: life{Rounds: 3}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sample{Labels: []string{"default"}}
			if _, err := Decode("file.yaml", []byte(c.file), got.fields()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMistakeStandsWhereItWasMade(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		file string
		want string
	}{
		"a file that is not YAML": {file: "wait: 1s\nlog: [\n", want: "file.yaml:2: is not YAML: did not find expected node content"},
		"a second document":       {file: "wait: 1s\n---\n", want: "file.yaml:2: a second document begins here: the file may hold one"},
		"a field that stands twice": {
			file: "wait: 1s\nlog: {}\nwait: 2s\n",
			want: "file.yaml:3: wait: is given twice, first in line 1",
		},
		"a field of the wrong kind": {
			file: "life: {own: maybe, rounds: 1.5}\nlog: debug\nname: 7\n",
			want: `file.yaml:1: life.own: "maybe" is not true or false; file.yaml:1: life.rounds: "1.5" is not a whole number; ` +
				"file.yaml:2: log: here stand fields with values: format, level; file.yaml:3: name: 7 is not text: put it in quotes",
		},
		"a value is no list":   {file: "labels: a=b", want: "file.yaml:1: labels: is not a list: put a dash before each element, or brackets around them"},
		"a group is no list":   {file: "labels: {a: b}", want: "file.yaml:1: labels: is not a list: put a dash before each element, or brackets around them"},
		"a list without value": {file: "labels:", want: "file.yaml:1: labels: has no value: leave the field out to keep its default"},
		"an element that is no text is found on its line": {
			file: "labels:\n- a=b\n- 7\n",
			want: "file.yaml:3: labels[1]: 7 is not text: put it in quotes",
		},
		"an element without value": {file: "labels:\n- a=b\n-\n", want: "file.yaml:3: labels[1]: has no value"},
		"a list in a list":         {file: "labels: [[a=b]]", want: "file.yaml:1: labels[0]: is a list or a group where one value belongs"},
		"a list that holds itself": {file: "labels: &l [*l]", want: "file.yaml:1: labels[0]: is a list or a group where one value belongs"},
		"an element that is wrong by its meaning is found on its line too": {
			file: "labels:\n- a=b\n- c\n",
			want: "file.yaml:3: labels[1]: has no =",
		},
		"an element that was not read shifts no other, and is complained of once": {
			file: "labels:\n- 7\n- c\n",
			want: "file.yaml:2: labels[0]: 7 is not text: put it in quotes; file.yaml:3: labels[1]: has no =",
		},
		"a mistake of a whole group stands where the group does": {
			file: "life:\n  rounds: -1\n",
			want: "file.yaml:1: life: goes backwards",
		},
		"a group may have two mistakes": {
			file: "life:\n  rounds: -2\n",
			want: "file.yaml:1: life: goes backwards; file.yaml:1: life: goes backwards fast",
		},
		"a group of which a field was not read is not judged": {
			file: "life:\n  rounds: -1\n  long: for ever\n",
			want: `file.yaml:3: life.long: "for ever" is not a duration such as 12s`,
		},
		"a group is judged though something with a longer name was not read": {
			file: "lifetime: 1\nlife:\n  rounds: -1\n",
			want: "file.yaml:1: lifetime: unknown field, known here: labels, life, log, name, wait; file.yaml:2: life: goes backwards",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file.yaml")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			config := sample{Name: "x"}
			var stdout, stderr bytes.Buffer
			code, done := config.program().Parse([]string{"--config", path}, unset, &stdout, &stderr)
			got := strings.ReplaceAll(stderr.String(), path, "file.yaml")
			if want := "sample: " + c.want + "\n"; code != 2 || !done || got != want || stdout.Len() > 0 {
				t.Errorf("exit %d, done %t, stdout %q, stderr\n%swant exit 2 and\n%s", code, done, stdout.String(), got, want)
			}
		})
	}
}

func TestWholeHoursAndMinutesAreWrittenAsPeopleDo(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{
		90 * time.Second: "1m30s", 10 * time.Minute: "10m", 90 * time.Minute: "1h30m", 10 * time.Hour: "10h", 30 * time.Second: "30s", 0: "0s",
	} {
		config := sample{Name: "24h0m0s", Wait: wait, Life: life{Long: 2160 * time.Hour}}
		file := fmt.Sprintf(`name: 24h0m0s
labels: []
life:
  long: 2160h
  rounds: 0
  own: false
log:
  level: ""
  format: ""
wait: %s
`, want)
		if diff := cmp.Diff(file, Encode(config, config.fields())); diff != "" {
			t.Errorf("%v (-want +got):\n%s", wait, diff)
		}
	}
}

func TestAFlagWinsOverAVariableAndThatOverTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte("name: from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		variable string
		args     []string
		want     string
	}{
		"the file alone":                       {want: "from-file"},
		"a variable":                           {variable: "from-variable", want: "from-variable"},
		"a flag":                               {variable: "from-variable", args: []string{"--name=from-flag"}, want: "from-flag"},
		"a flag that is typed before --config": {args: []string{"--name", "from-flag", "--config", path}, want: "from-flag"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var (
				config         sample
				stdout, stderr bytes.Buffer
			)
			getenv := func(string) string { return c.variable }
			if _, done := config.program().Parse(append([]string{"--config", path}, c.args...), getenv, &stdout, &stderr); done {
				t.Fatalf("ended: %s", stderr.String())
			}
			if config.Name != c.want {
				t.Errorf("name %q, want %q", config.Name, c.want)
			}
		})
	}
}

func TestAFlagThatIsEmptyEmptiesTheField(t *testing.T) {
	t.Parallel()
	config := sample{Name: "default"}
	var stdout, stderr bytes.Buffer
	code, done := config.program().Parse([]string{"--name="}, unset, &stdout, &stderr)
	if want := "sample: --name: name: is missing\n"; code != 2 || !done || stderr.String() != want {
		t.Errorf("exit %d, %q; want exit 2, %q", code, stderr.String(), want)
	}
}

func TestASwitchKeepsItsDefaultUntilItIsTyped(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]bool{"--name=x": true, "--quiet=false": false, "--quiet": true} {
		config := sample{Name: "x", Quiet: true}
		var stdout, stderr bytes.Buffer
		if _, done := config.program().Parse([]string{args}, unset, &stdout, &stderr); done || config.Quiet != want {
			t.Errorf("%s: quiet %t, done %t, %s", args, config.Quiet, done, stderr.String())
		}
	}
}

func TestHelpAndVersionNeedNothingElse(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]string{"--help": "how to use it\n", "-h": "how to use it\n", "--version": "sample v1\n"} {
		var (
			config         sample
			stdout, stderr bytes.Buffer
		)
		code, done := config.program().Parse([]string{flag}, unset, &stdout, &stderr)
		if code != 0 || !done || stdout.String() != want || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, done %t, %q, %q", flag, code, done, stdout.String(), stderr.String())
		}
	}
}

func TestACommandLineThatIsWrongIsOneLine(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "file.yaml")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a file that is not there":    {[]string{"--config", missing}, missing + ": no such file or directory"},
		"a flag that names no file":   {[]string{"--config="}, "--config: names no file"},
		"an argument that is no flag": {[]string{"--quiet", "now", "--name=y"}, `"now" is not a flag, and nothing after it was read`},
		"a flag that there is not":    {[]string{"--verbose=y"}, "flag provided but not defined: -verbose"},
	} {
		config := sample{Name: "x"}
		var stdout, stderr bytes.Buffer
		code, done := config.program().Parse(c.args, unset, &stdout, &stderr)
		if want := "sample: " + c.want + "\n"; code != 2 || !done || stdout.Len() > 0 || stderr.String() != want {
			t.Errorf("%s: exit %d, done %t, %q; want exit 2, %q", name, code, done, stderr.String(), want)
		}
	}
}

func TestCheckConfigPrintsWhatIsInForce(t *testing.T) {
	t.Parallel()
	config := sample{Labels: []string{"a=b"}}
	var stdout, stderr bytes.Buffer
	code, done := config.program().Parse([]string{"--check-config", "--name=x"}, unset, &stdout, &stderr)
	want := sample{Name: "x", Labels: []string{"a=b"}}
	if code != 0 || !done || stderr.Len() > 0 || stdout.String() != Encode(want, want.fields()) {
		t.Errorf("exit %d, done %t, %q, %q", code, done, stdout.String(), stderr.String())
	}
}

func TestEveryFlagIsListed(t *testing.T) {
	t.Parallel()
	want := []string{"check-config", "config", "help", "log-level", "name", "quiet", "version"}
	if diff := cmp.Diff(want, new(sample).program().FlagNames()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzWhatIsWrittenReadsBackAsTheSame(f *testing.F) {
	f.Add([]byte("name: x\nlabels: [a=b, '', \"a\\nb\"]\nlife: {long: 2160h, rounds: 3, own: true}\nwait: 1ms\n"))
	f.Add([]byte("labels:\n- &x a\n- *x\n- !!str 7\n"))
	f.Add([]byte("labels: &l [*l, {a: b}, ~]\nlife: &l2 {long: *l2}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		var first, again sample
		if _, err := Decode("first", content, first.fields()); err != nil {
			mistakes, are := errors.AsType[Errors](err)
			if !are || len(mistakes) == 0 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("not Errors on one line: %q", err)
			}
			return
		}
		file := Encode(first, first.fields())
		if _, err := Decode("again", []byte(file), again.fields()); err != nil {
			t.Fatalf("reading back %q: %v", file, err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}
