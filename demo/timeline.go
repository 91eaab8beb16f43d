package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// timeline tells what happens while it happens.
type timeline struct {
	screen          *screen
	began, deadline time.Time

	mu   sync.Mutex
	last map[types.UID]lab.PodRecord
}

// say tells one thing that happened at a moment.
func (t *timeline) say(at time.Time, tone tone, format string, args ...any) {
	t.screen.line(tone, "%7.2f s  %s", at.Sub(t.began).Seconds(), fmt.Sprintf(format, args...))
}

// run keeps the status until ctx ends.
func (t *timeline) run(ctx context.Context) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.screen.status(t.status(time.Now()))
		}
	}
}

func (t *timeline) status(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	left, ready := 0, 0
	for _, r := range t.last {
		if r.Node == doomed && r.End == lab.Running && r.OwnerKind != daemonSet {
			left++
		}
		if isWeb(r) && serves(r, now) {
			ready++
		}
	}
	return fmt.Sprintf("           %d s left, %d pods still on %s, web %d of %d ready",
		max(0, int(t.deadline.Sub(now).Seconds())), left, doomed, ready, webReplicas)
}

// tellPods tells what the nodes say of their pods, until there are no more records.
func (t *timeline) tellPods(records <-chan lab.PodRecord) {
	for now := range records {
		t.mu.Lock()
		if t.last == nil {
			t.last = map[types.UID]lab.PodRecord{}
		}
		before := t.last[now.UID]
		t.last[now.UID] = now
		t.mu.Unlock()
		t.tellPod(before, now)
	}
}

func (t *timeline) tellPod(before, now lab.PodRecord) {
	if now.Node != doomed {
		if before.ReadyAt.IsZero() && now.ReadyAt.After(t.began) {
			t.say(now.ReadyAt, faint, "ready     %s, on %s", now.Name, now.Node)
		}
		return
	}
	if before.ToldAt.IsZero() && !now.ToldAt.IsZero() {
		t.say(now.ToldAt, plain, "told      %s, to stop within %d s", now.Name, int(now.Grace.Seconds()))
	}
	if before.End == now.End || now.End == lab.Running {
		return
	}
	switch now.End {
	case lab.Exited, lab.Completed:
		t.say(now.EndedAt, good, "ended     %s, by itself", now.Name)
	case lab.Killed:
		t.say(now.EndedAt, warn, "killed    %s, its grace was over", now.Name)
	case lab.Lost:
		if now.OwnerKind == daemonSet {
			t.say(now.EndedAt, faint, "stayed    %s, which belongs to the node", now.Name)
			return
		}
		t.say(now.EndedAt, bad, "LOST      %s, with the machine", now.Name)
	case lab.Running:
	}
}

// tellAgent tells what the agent says of itself, but for the pods: the nodes know
// better what became of those.
func (t *timeline) tellAgent(record agentrun.Record) {
	switch {
	case record.Time.Before(t.began):
	case record.Message == "Noticed interruption":
		t.say(record.Time, loud, "agent     noticed it")
	case record.Message == "Cordoned node":
		t.say(record.Time, loud, "agent     cordoned %s", doomed)
	case record.Message == "Planned drain":
		t.say(record.Time, loud, "agent     planned %d pods to move and %d to stay", count(record, "moves"), count(record, "skips"))
	case isReport(record) && record.Level == "WARN":
		t.say(record.Time, bad, "agent     gave up on what is left on %s", doomed)
	case isReport(record):
		t.say(record.Time, loud, "agent     has emptied %s, %.1f s before its end", doomed, t.deadline.Sub(record.Time).Seconds())
	case record.Level == "WARN" || record.Level == "ERROR":
		t.say(record.Time, warn, "agent     %s: %s", record.Message, record.Text("err"))
	}
}

// count returns how long a list in a record is.
func count(record agentrun.Record, key string) int {
	var list []json.RawMessage
	_ = record.Decode(key, &list) // No list has no length.
	return len(list)
}
