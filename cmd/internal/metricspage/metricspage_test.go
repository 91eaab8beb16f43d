package metricspage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// reader is a test that Hold may fail.
type reader struct {
	testing.TB
	said []string
}

func (r *reader) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

const page = "before\n<!-- tide metrics: begin -->\n%s<!-- tide metrics: end -->\nafter %s\n"

// serve returns a registry with a metric that has series and one that has none, which
// serve what the words say.
func serve(says, without string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	with := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ebbtide_waves_total", Help: says}, []string{"version", "height"})
	with.WithLabelValues("1", "Low")
	with.WithLabelValues("2", "High")
	registry.MustRegister(with,
		prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: without, Help: "Shores."}, []string{"shore"}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: "Another's."}))
	return registry
}

// The page is found from the working directory, as the tests of a program find it.
func TestThePageIsHeldToWhatIsServed(t *testing.T) {
	const table = "| metric | kind | labels | what it says |\n|---|---|---|---|\n" +
		"| `ebbtide_waves_total` | counter | `height`: `High`, `Low`; `version` | Waves. |\n"
	for name, c := range map[string]struct {
		table, after string
		registry     *prometheus.Registry
		want         string // what the failure says; empty for none
	}{
		"when it says the same":                         {table, "`ebbtide_shores`", serve("Waves.", "ebbtide_shores"), ""},
		"when a metric says something else":             {table, "`ebbtide_shores`", serve("Ripples.", "ebbtide_shores"), "go test ./cmd/ebbtide-tide -update"},
		"when a metric is missing":                      {"", "`ebbtide_shores`", serve("Waves.", "ebbtide_shores"), "go test ./cmd/ebbtide-tide -update"},
		"when a metric without series is not mentioned": {table, "", serve("Waves.", "ebbtide_shores"), "does not name ebbtide_shores"},
		"and not to what is not the project's own":      {table, "", serve("Waves.", "shores"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, fmt.Sprintf(page, c.table, c.after))
			held := &reader{TB: t}
			Hold(held, "tide", false, c.registry)
			said := strings.Join(held.said, "\n")
			if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
				t.Errorf("it says %q, want %q in it", said, c.want)
			}
			Hold(held, "tide", true, c.registry)
			held.said = nil
			Hold(held, "tide", false, c.registry)
			if said := strings.Join(held.said, "\n"); strings.Contains(said, "behind") {
				t.Errorf("what was written into the page is not what is served: %s", said)
			}
		})
	}
}

func TestModesThatDifferInALabelShareARow(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, fmt.Sprintf(page, "", "`ebbtide_shores`"))
	other := prometheus.NewRegistry()
	waves := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ebbtide_waves_total", Help: "Waves."}, []string{"version", "height"})
	waves.WithLabelValues("1", "Freak")
	other.MustRegister(waves)
	Hold(t, "tide", true, serve("Waves.", "ebbtide_shores"), other)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "| `ebbtide_waves_total` | counter | `height`: `Freak`, `High`, `Low`; `version` | Waves. |\n"
	if !strings.Contains(string(text), want) {
		t.Errorf("the page has no row %q:\n%s", want, text)
	}
}

// write puts the page where it is for the working directory, and changes into that.
func write(t *testing.T, text string) {
	t.Helper()
	for _, dir := range []string{"docs", "cmd/ebbtide-tide"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join("docs", "metrics.md"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir("cmd/ebbtide-tide")
}
