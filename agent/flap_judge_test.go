package agent

import (
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	diff "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// world is a scene with the sources of a cloud, which flap.
type world struct {
	*scene
	sources  []*flapper
	episodes []*episode // of all sources, in order
	calls    []int      // to pods, before each of the episodes
}

func newWorld(s *scene, sources []*flapper) *world {
	s.Helper()
	const seed = 6
	w := &world{scene: s, sources: sources}
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test that fails must fail again
	s.agent.Sources = nil
	for i, f := range sources {
		f.start, f.random = s.start, rand.New(rand.NewPCG(seed, uint64(i+1))) //nolint:gosec // as above
		f.live(time.Hour, week+time.Hour)
		s.agent.Sources = append(s.agent.Sources, f)
	}
	s.agent.Metrics = NewMetrics(prometheus.NewRegistry(), s.agent.Sources)
	for now := 70 * time.Minute; ; {
		f := sources[random.IntN(len(sources))]
		e := newEpisode(random, f, now)
		if e.end > week {
			return w
		}
		if e.native {
			e.id = fmt.Sprintf("event-%d", len(w.episodes))
		}
		f.episodes, w.episodes = append(f.episodes, e), append(w.episodes, e)
		for _, f := range sources {
			f.spare(e.end, e.end+calm)
		}
		now = e.end + calm + within(random, 5*time.Minute, time.Hour)
	}
}

// newEpisode begins one of the source's habits.
func newEpisode(random *rand.Rand, f *flapper, begin time.Duration) *episode {
	e := &episode{habit: f.habits[random.IntN(len(f.habits))], source: sourceKey(f), begin: begin}
	e.end = begin + within(random, e.lasts/4, e.lasts)
	switch {
	case e.fate == planned:
		e.end = begin + e.lead + e.lasts
		// Its drain has ended then; what comes back much later is another.
		e.flaky = e.lead + flickers/2 - f.pace.Every
	case e.flaky == 0:
		e.flaky = e.end - begin
	}
	return e
}

// worldLabel marks the goroutines that an agent has started, and those that they have: the
// agents of other clouds are at work beside this one.
const worldLabel = "cloud"

// goroutines is how many the agent of that cloud has.
func (w *world) goroutines(cloud string) int {
	w.Helper()
	var profile strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		w.Fatal(err)
	}
	stacks := regexp.MustCompile(`(?m)^(\d+) @.*\n# labels: \{"` + worldLabel + `":"` + regexp.QuoteMeta(cloud) + `"\}$`)
	sum := 0
	for _, stack := range stacks.FindAllStringSubmatch(profile.String(), -1) {
		n, err := strconv.Atoi(stack[1])
		if err != nil {
			w.Fatal(err)
		}
		sum += n
	}
	return sum
}

// bindPods puts three pods on the node for an episode, one of them critical.
func (w *world) bindPods(i int) {
	w.node.mu.Lock()
	clear(w.node.pods)
	w.node.mu.Unlock()
	for _, name := range []string{"web", "db", "dns"} {
		pod := newPod(fmt.Sprintf("%s-%d", name, i))
		if name == "dns" {
			pod.Spec.Priority = w.agent.Critical.Priority
		}
		w.node.bind(pod)
	}
}

// isAsBefore fails the test unless the node is as if there had been nothing, which it
// has to be some minutes after each episode.
func (w *world) isAsBefore(i int) {
	w.Helper()
	w.calls = append(w.calls, len(w.node.times(evict, remove)))
	if w.node.unschedulable() || w.node.state(w.T) != nil {
		w.Fatalf("after %s the node is marked: %+v", w.episodes[max(0, i-1)], w.node.state(w.T))
	}
}

// judge holds what the agent did in the week to what it was told.
func (w *world) judge() {
	w.Helper()
	got := make([]map[string]int, len(w.episodes))
	polls, unseen, undecided := 0, 0, 0
	for i := range got {
		got[i] = map[string]int{toldPods: w.calls[i+1] - w.calls[i]}
	}
	count := func(what string, at time.Duration) {
		// It is counted for the episode that began last.
		i, _ := slices.BinarySearchFunc(w.episodes, at, func(e *episode, at time.Duration) int { return cmp.Compare(e.begin, at+1) })
		if i == 0 {
			w.Errorf("%q at %s, before there was anything", what, at)
			return
		}
		got[i-1][what]++
	}
	for _, message := range []string{begun, followed, told} {
		for _, line := range w.log.with(message) {
			count(message, w.moment(line))
		}
	}
	for _, report := range w.told.all() {
		count(reported, w.since(report.Ended))
	}
	for i, e := range w.episodes {
		if e.undecided() {
			undecided++
		} else if wrong := diff.Diff(e.want(), got[i]); wrong != "" {
			w.Errorf("%s (-want +got):\n%s", e, wrong)
		}
		if e.told == 0 {
			unseen++
		}
	}
	for _, f := range w.sources {
		polls += f.polls
	}
	w.Logf("%d polls, %d episodes, %d of them never shown, %d too close to call", polls, len(w.episodes), unseen, undecided)
	if undecided > len(w.episodes)/20 {
		w.Error("too many are too close to call")
	}
	w.logsTransitions()
}

// What can come of an episode: lines of the log, reports, and pods that were told to stop.
const (
	begun    = "Noticed interruption"
	followed = "Noticed advice"
	told     = "Noted notice"
	reported = "reports"
	toldPods = "calls to pods"
)

// want is what has to come of the episode.
func (e *episode) want() map[string]int {
	switch {
	case e.told == 0:
		return map[string]int{toldPods: 0}
	case e.fate == noted:
		return map[string]int{told: 1, toldPods: 0}
	case e.fate == advised:
		return map[string]int{followed: 1, reported: 1, toldPods: 1}
	case e.fate == planned && e.first < e.begin+e.lead-DefaultRules().Lead:
		return map[string]int{told: 1, begun: 1, reported: 1, toldPods: 3}
	}
	return map[string]int{begun: 1, reported: 1, toldPods: 3}
}

// undecided says whether the episode was first told so shortly before or after a moment at
// which what comes of it turns that a clock of whole seconds does not tell which it was.
func (e *episode) undecided() bool {
	turn := e.begin + e.lead
	if e.fate == planned {
		turn -= DefaultRules().Lead
	}
	return e.lead > 0 && e.told > 0 && (e.first-turn).Abs() < 2*time.Second
}

// moment is when a line was logged.
func (w *world) moment(line map[string]any) time.Duration {
	w.Helper()
	text, _ := line[slog.TimeKey].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		w.Fatal(err)
	}
	return w.since(at)
}

// logsTransitions wants that the log says of each check when it begins to fail, fails in
// another way or passes again, and nothing twice.
func (w *world) logsTransitions() {
	w.Helper()
	last := map[string]string{}
	for _, line := range w.log.checks() {
		check := strings.TrimSuffix(strings.Fields(line)[1], ":")
		if last[check] == line {
			w.Errorf("the log says %q twice in a row", line)
		}
		last[check] = line
	}
}
