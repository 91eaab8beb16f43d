package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
)

// Most scenes take place like this: a notice of two minutes comes at seenAt.
const (
	seenAt = 10 * time.Second
	endsAt = seenAt + 2*time.Minute
	// lapsedAt is the first poll more than a minute past the end.
	lapsedAt = endsAt + time.Minute + time.Second
	// blindAfter is how long the source of a scene may be without a success.
	blindAfter = 10 * time.Second
)

// scene is an agent on a memoryNode in virtual time. Moments are told as the
// time since its start.
type scene struct {
	*testing.T
	start  time.Time
	node   *memoryNode
	source *script
	told   *audience
	log    *logbook
	agent  *Agent
	// stop tells the agent to end; ended is closed when Run has returned.
	stop  context.CancelFunc
	ended chan struct{}
}

// play runs story in a bubble of virtual time, with an agent on a node with
// pods that is not started yet. The agent is stopped after it; that it then
// comes to its end, and everything it started, is part of every test.
func play(t *testing.T, pods []*corev1.Pod, story func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		source := newScript("spot", start)
		s := &scene{
			T: t, start: start, node: newMemoryNode(t, pods...), source: source,
			told: &audience{}, log: &logbook{}, ended: make(chan struct{}),
		}
		log := slog.New(slog.NewJSONHandler(s.log, nil))
		sources := []Source{source}
		s.agent = &Agent{
			Node: s.node, Sources: sources,
			Boot:  drain.Boot{ID: "this-boot", Uptime: func() time.Duration { return time.Since(start.Add(-time.Hour)) }},
			Rules: DefaultRules(), Critical: drain.Selection{Priority: new(int32(1000))},
			Pod: "ebbtide-agent-1", Concurrency: 2, Reporter: s.told, Health: &Health{Log: log}, Drills: NewDrills(),
			Metrics: NewMetrics(prometheus.NewRegistry(), sources), Log: log,
		}
		story(s)
		if s.stop != nil {
			s.stop()
			<-s.ended
		}
	})
}

// begin starts the agent.
func (s *scene) begin() {
	ctx, cancel := context.WithCancel(s.Context())
	s.stop = cancel
	go func() {
		defer close(s.ended)
		if err := s.agent.Run(ctx); err != nil {
			s.Errorf("the agent ended with %v", err)
		}
	}()
}

// at waits for a moment, and until everything that is due then is done.
func (s *scene) at(moment time.Duration) {
	<-time.After(time.Until(s.start.Add(moment)))
	synctest.Wait()
}

// since tells a moment as the scene does.
func (s *scene) since(moment time.Time) time.Duration { return moment.Sub(s.start) }

// endsAt is the announcement of the machine's end at a moment of the scene, as
// it is read now.
func (s *scene) endsAt(moment time.Duration) Sighting {
	return sighting(time.Now(), s.start.Add(moment))
}

// sighting is a spot notice read at now, on a cloud with the same clock.
func sighting(now, at time.Time) Sighting {
	return Sighting{
		Kind: SpotInterruption, Action: Terminate, State: Scheduled,
		At: at, ServerTime: now.Add(-dateHalf), Nominal: 2 * time.Minute,
	}
}

// report returns the one report that was made.
func (s *scene) report() drain.Report {
	s.Helper()
	reports := s.told.all()
	if len(reports) != 1 {
		s.Fatalf("%d drains were reported, want one", len(reports))
	}
	return reports[0]
}

// script is a Source that says at each moment what its author wrote for it.
type script struct {
	name  string
	start time.Time
	pace  Pace

	mu sync.Mutex
	// say is asked at each poll with the time since start; nil says "none".
	say   func(ctx context.Context, at time.Duration) ([]Sighting, error)
	polls []time.Duration
}

var _ Source = (*script)(nil)

// newScript returns a source that says "none" and is asked each second.
func newScript(name string, start time.Time) *script {
	return &script{name: name, start: start, pace: Pace{Every: time.Second, Timeout: time.Second, BlindAfter: blindAfter}}
}

func (s *script) Provider() string { return "test" }

func (s *script) Name() string { return s.name }

func (s *script) Pace() Pace { return s.pace }

func (s *script) Poll(ctx context.Context) ([]Sighting, error) {
	at := time.Since(s.start)
	s.mu.Lock()
	s.polls = append(s.polls, at)
	say := s.say
	s.mu.Unlock()
	if say == nil {
		return nil, nil
	}
	return say(ctx, at)
}

// says lets the source announce the machine's end at endsAt in each poll that
// shows is true for.
func (s *scene) says(shows func(at time.Duration) bool) {
	s.source.say = func(_ context.Context, at time.Duration) ([]Sighting, error) {
		if !shows(at) {
			return nil, nil
		}
		return []Sighting{s.endsAt(endsAt)}, nil
	}
}

// fromThenOn is true since the notice came.
func fromThenOn(at time.Duration) bool { return at >= seenAt }

// between is true from begin to before end.
func between(begin, end time.Duration) func(time.Duration) bool {
	return func(at time.Duration) bool { return at >= begin && at < end }
}

// audience is a Reporter that remembers.
type audience struct {
	// err is what Report answers; it waits for ctx first where hangs is true.
	err   error
	hangs bool

	mu      sync.Mutex
	notices []Notice
	reports []drain.Report
}

var _ Reporter = (*audience)(nil)

func (a *audience) Report(ctx context.Context, notice Notice, report drain.Report) error {
	a.mu.Lock()
	a.notices, a.reports = append(a.notices, notice), append(a.reports, report)
	a.mu.Unlock()
	if a.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.err
}

func (a *audience) all() []drain.Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reports
}

// logbook takes in JSON lines of a log.
type logbook struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *logbook) Write(text []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(text, &line); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return len(text), nil
}

// with returns the lines with message.
func (l *logbook) with(message string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for _, line := range l.lines {
		if line[slog.MessageKey] == message {
			found = append(found, line)
		}
	}
	return found
}

// checks tells what the log says about the checks of Health, in order:
// "failed source/test-spot: why", "passed source/test-spot".
func (l *logbook) checks() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var told []string
	for _, line := range l.lines {
		name, _ := line["check"].(string)
		why, _ := line["err"].(string)
		switch line[slog.MessageKey] {
		case "Check failed":
			told = append(told, "failed "+name+": "+why)
		case "Check passed":
			told = append(told, "passed "+name)
		}
	}
	return told
}
