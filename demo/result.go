package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// Result is out/demo.json. Times are in seconds, counted from the notice where they
// are moments. What became of a pod is what its node saw; the agent's word is taken
// only for the path, which the node cannot see.
type Result struct {
	Kubernetes    string  `json:"kubernetes"`
	Node          string  `json:"node"`
	NoticeSeconds float64 `json:"noticeSeconds"`
	// CordonSeconds is when the API server showed the node unschedulable; absent if
	// it never did.
	CordonSeconds *float64 `json:"cordonSeconds,omitempty"`
	// LastEvictionSeconds is when the last pod was told to stop, EmptySeconds when
	// the last of those had ended, SpareSeconds what was left of the notice then.
	LastEvictionSeconds float64 `json:"lastEvictionSeconds"`
	EmptySeconds        float64 `json:"emptySeconds"`
	SpareSeconds        float64 `json:"spareSeconds"`
	Pods                Pods    `json:"pods"`
	Web                 Web     `json:"web"`
	// Requests are those of the agent to the API server since the notice, Metadata
	// those to the metadata service.
	Requests Requests `json:"requests"`
	Metadata Metadata `json:"metadata"`
	// Table has a row for each pod of the node, in the order in which they ended.
	Table []Row `json:"table"`
	// Reported says that the agent's own report arrived.
	Reported bool `json:"reported"`
}

// Pods counts the node's pods. Every pod is in exactly one of the counts but Total.
type Pods struct {
	Total int `json:"total"`
	// Graceful ended by themselves, within the grace of an eviction or before one.
	Graceful int `json:"graceful"`
	// Forced ended by themselves, told to stop at their latest moment, past a budget
	// that did not open.
	Forced int `json:"forced"`
	// Killed were told to stop and needed longer than the grace they were given.
	Killed int `json:"killed"`
	// Lost were still running when the machine went.
	Lost int `json:"lost"`
	// Stayed belong to the node (DaemonSets), and went with it.
	Stayed int `json:"stayed"`
}

// Web is how the Deployment of many replicas fared: its budget is the least that may
// be ready, FewestReady the least that was.
type Web struct {
	Replicas    int `json:"replicas"`
	Budget      int `json:"budget"`
	FewestReady int `json:"fewestReady"`
}

// Requests counts requests to the API server.
type Requests struct {
	// Total is without Events; PerPod is Total by the pods that had to leave.
	Total  int     `json:"total"`
	PerPod float64 `json:"perPod"`
	Events int     `json:"events"`
	// Refused are those of Total that a closed disruption budget turned away.
	Refused int            `json:"refused"`
	ByKind  map[string]int `json:"byKind"`
}

// Metadata counts requests to the metadata service.
type Metadata struct {
	Total     int     `json:"total"`
	PerSecond float64 `json:"perSecond"`
}

// Fate is what became of a pod. The values are those of Pods.
type Fate string

// The fates.
const (
	Graceful Fate = "graceful"
	Forced   Fate = "forced"
	Killed   Fate = "killed"
	Lost     Fate = "lost"
	Stayed   Fate = "stayed"
)

// Row is what became of one pod.
type Row struct {
	Pod   string `json:"pod"`
	Owner string `json:"owner,omitempty"`
	Fate  Fate   `json:"fate"`
	// Path is the agent's word for the way it left; empty if it had none.
	Path drain.Path `json:"path,omitempty"`
	// ToldSeconds is when it got its SIGTERM; absent if it never did.
	ToldSeconds *float64 `json:"toldSeconds,omitempty"`
	GoneSeconds float64  `json:"goneSeconds"`
	// The grace that the pod asks for (if the agent said so) and what it was given.
	GraceWantedSeconds int64 `json:"graceWantedSeconds,omitempty"`
	GraceGivenSeconds  int64 `json:"graceGivenSeconds,omitempty"`
	// LeftSeconds is what was left of the notice when it was gone.
	LeftSeconds float64 `json:"leftSeconds"`
}

const (
	daemonSet   = "DaemonSet"
	webReplicas = 20
	webBudget   = 18
)

// evidence is all that was seen of one notice.
type evidence struct {
	kubernetes        string
	noticed, deadline time.Time
	cordoned          time.Time // zero if it never was
	records           []lab.PodRecord
	report            *drain.Report // nil if it did not arrive
	requests          []lab.Request
	metadata          []awstest.Request
}

// newResult concludes what there is to say from what was seen.
func newResult(seen evidence) Result {
	result := Result{
		Kubernetes: seen.kubernetes, Node: doomed, NoticeSeconds: seconds(seen.deadline.Sub(seen.noticed)),
		Web:      Web{Replicas: webReplicas, Budget: webBudget, FewestReady: seen.fewestReady()},
		Reported: seen.report != nil,
	}
	if !seen.cordoned.IsZero() {
		result.CordonSeconds = new(seconds(seen.cordoned.Sub(seen.noticed)))
	}
	outcomes := seen.outcomes()
	for _, record := range seen.records {
		if record.Node != doomed || !record.EndedAt.IsZero() && record.EndedAt.Before(seen.noticed) {
			continue
		}
		row := seen.row(record, outcomes)
		result.Table = append(result.Table, row)
		result.Pods.add(row.Fate)
		if row.Fate == Stayed {
			continue
		}
		if row.ToldSeconds != nil {
			result.LastEvictionSeconds = max(result.LastEvictionSeconds, *row.ToldSeconds)
		}
		result.EmptySeconds = max(result.EmptySeconds, row.GoneSeconds)
	}
	slices.SortStableFunc(result.Table, func(a, b Row) int { return cmp.Compare(a.GoneSeconds, b.GoneSeconds) })
	result.SpareSeconds = milli(result.NoticeSeconds - result.EmptySeconds)
	result.Requests = seen.countRequests(result.Pods.Total - result.Pods.Stayed)
	result.Metadata = seen.countMetadata()
	return result
}

// outcomes finds the agent's word on each pod by its UID.
func (e evidence) outcomes() map[string]drain.PodOutcome {
	outcomes := map[string]drain.PodOutcome{}
	if e.report != nil {
		for _, outcome := range e.report.Pods {
			outcomes[string(outcome.UID)] = outcome
		}
	}
	return outcomes
}

func (e evidence) row(record lab.PodRecord, outcomes map[string]drain.PodOutcome) Row {
	outcome := outcomes[string(record.UID)]
	row := Row{
		Pod: record.Name, Path: outcome.Path, Fate: fate(record, outcome.Path),
		GraceWantedSeconds: outcome.GraceWanted, GraceGivenSeconds: int64(record.Grace / time.Second),
		GoneSeconds: seconds(record.EndedAt.Sub(e.noticed)),
		// A pod that goes with its machine ends a little after the moment.
		LeftSeconds: max(0, seconds(e.deadline.Sub(record.EndedAt))),
	}
	if record.OwnerKind != "" {
		row.Owner = record.OwnerKind + "/" + record.OwnerName
	}
	if !record.ToldAt.IsZero() {
		row.ToldSeconds = new(seconds(record.ToldAt.Sub(e.noticed)))
	}
	return row
}

// fate judges by what the node saw.
func fate(record lab.PodRecord, path drain.Path) Fate {
	switch record.End {
	case lab.Killed:
		return Killed
	case lab.Exited, lab.Completed:
		if path == drain.Forced {
			return Forced
		}
		return Graceful
	case lab.Lost, lab.Running:
		if record.OwnerKind == daemonSet && record.ToldAt.IsZero() {
			return Stayed
		}
	}
	return Lost
}

func (p *Pods) add(fate Fate) {
	p.Total++
	switch fate {
	case Graceful:
		p.Graceful++
	case Forced:
		p.Forced++
	case Killed:
		p.Killed++
	case Lost:
		p.Lost++
	case Stayed:
		p.Stayed++
	}
}

// fewestReady is the least number of ready web pods at any moment of the notice.
func (e evidence) fewestReady() int {
	moments := []time.Time{e.noticed}
	for _, r := range e.records {
		for _, moment := range []time.Time{r.ToldAt, r.EndedAt} {
			if isWeb(r) && moment.After(e.noticed) && !moment.After(e.deadline) {
				moments = append(moments, moment)
			}
		}
	}
	fewest := webReplicas
	for _, moment := range moments {
		ready := 0
		for _, r := range e.records {
			if isWeb(r) && serves(r, moment) {
				ready++
			}
		}
		fewest = min(fewest, ready)
	}
	return fewest
}

func isWeb(r lab.PodRecord) bool {
	return r.OwnerKind == "ReplicaSet" && strings.HasPrefix(r.OwnerName, "web-")
}

// serves says whether a pod was ready and not told to stop at a moment.
func serves(r lab.PodRecord, at time.Time) bool {
	after := func(moment time.Time) bool { return moment.IsZero() || moment.After(at) }
	return !after(r.ReadyAt) && after(r.ToldAt) && after(r.EndedAt)
}

func (e evidence) countRequests(pods int) Requests {
	counted := Requests{ByKind: map[string]int{}}
	for _, request := range e.requests {
		if request.Time.Before(e.noticed) {
			continue
		}
		if request.Resource == "events" {
			counted.Events++
			continue
		}
		kind := request.Verb + " " + request.Resource
		if request.Subresource != "" {
			kind += "/" + request.Subresource
		}
		counted.Total++
		counted.ByKind[kind]++
		if request.Code == http.StatusTooManyRequests && request.Subresource == "eviction" {
			counted.Refused++
		}
	}
	if pods > 0 {
		counted.PerPod = milli(float64(counted.Total) / float64(pods))
	}
	return counted
}

func (e evidence) countMetadata() Metadata {
	var counted Metadata
	for _, request := range e.metadata {
		if !request.At.Before(e.noticed) {
			counted.Total++
		}
	}
	counted.PerSecond = milli(float64(counted.Total) / e.deadline.Sub(e.noticed).Seconds())
	return counted
}

// verdict is what keeps the demo from being a success: nil if nothing does.
func (r Result) verdict() error {
	var errs []error
	if r.Pods.Lost > 0 {
		errs = append(errs, fmt.Errorf("%d pods were lost with %s", r.Pods.Lost, r.Node))
	}
	if !r.Reported {
		errs = append(errs, errNoReport)
	}
	return errors.Join(errs...)
}

// write writes the result as JSON, and its folder too.
func (r Result) write(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("creating %q: %w", filepath.Dir(path), err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// seconds is a duration as a figure for people and programs.
func seconds(d time.Duration) float64 { return milli(d.Seconds()) }

// milli rounds to three places: beyond them the figures are noise.
func milli(figure float64) float64 { return math.Round(figure*1000) / 1000 }
