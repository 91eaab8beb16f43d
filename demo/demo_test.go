package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheDemoLosesNoPodAndShowsOneOfEachKind(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	screen := newScreen(&output, false, false)
	result, err := run(t.Context(), screen, notice)
	t.Log("\n" + output.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := result.verdict(); err != nil {
		t.Error(err)
	}
	if result.CordonSeconds == nil || *result.CordonSeconds > 5 {
		t.Errorf("cordoned after %v s", result.CordonSeconds)
	}
	if result.Web.FewestReady < webBudget {
		t.Errorf("%d web pods were ready at one moment, the budget asks for %d", result.Web.FewestReady, webBudget)
	}
	for app, least := range cast {
		fates := map[Fate]int{}
		for _, row := range result.Table {
			if row.Pod == app || strings.HasPrefix(row.Pod, app+"-") {
				fates[row.Fate]++
			}
		}
		want := Graceful
		switch app {
		case "licence-server":
			want = Forced
		case "node-logs":
			want = Stayed
		}
		if fates[want] < least || len(fates) != 1 {
			t.Errorf("pods of %q ended as %v, want at least %d %s and no other", app, fates, least, want)
		}
	}
	checkFile(t, result)
}

func checkFile(t *testing.T, result Result) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out", "demo.json")
	if err := result.write(path); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Pods struct{ Lost *int }
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	if file.Pods.Lost == nil || *file.Pods.Lost != 0 {
		t.Errorf("pods.lost in the file is not the figure 0:\n%s", content)
	}
}

func TestOffATerminalThereAreOnlyPlainLines(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	screen := newScreen(&output, false, true)
	screen.line(good, "one %d", 1)
	screen.status("two")
	_, _ = screen.Write([]byte("three\nfo"))
	_, _ = screen.Write([]byte("ur\n"))
	if want := "one 1\n  three\n  four\n"; output.String() != want {
		t.Errorf("wrote %q, want %q", output.String(), want)
	}
}

func TestOnATerminalTheStatusStaysBelowTheLines(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	screen := newScreen(&output, true, false)
	screen.status("two pods left")
	screen.line(good, "one is gone")
	screen.status("one pod left")
	screen.status("")
	if got, want := visible(output.String()), "one is gone\n"; got != want {
		t.Errorf("one sees %q, want %q", got, want)
	}
	if strings.Contains(output.String(), "\033[32m") {
		t.Error("there are colours, which were not wanted")
	}
}

func TestColoursAreThereWhenWantedOnATerminal(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	newScreen(&output, true, true).line(good, "saved")
	if want := "\033[32msaved\033[0m\n"; output.String() != want {
		t.Errorf("wrote %q, want %q", output.String(), want)
	}
}

// visible is what remains on a terminal of a text that clears lines.
func visible(text string) string {
	return regexp.MustCompile(`[^\n]*\r\033\[K`).ReplaceAllString(text, "")
}

func TestAnInterruptedDemoLeavesNothingAndIsNoSuccess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr bytes.Buffer
	// The interruption comes with the first line of the live part.
	screen := newScreen(interrupter{at: "notice ", interrupt: cancel}, false, false)
	if code := demonstrate(ctx, screen, &stderr); code != exitInterrupted {
		t.Errorf("exit code %d, want %d: %s", code, exitInterrupted, stderr.String())
	}
	if ctx.Err() == nil {
		t.Error("the demo ended before it could be interrupted")
	}
}

// interrupter interrupts when a text is written to it.
type interrupter struct {
	at        string
	interrupt func()
}

func (i interrupter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(i.at)) {
		i.interrupt()
	}
	return len(p), nil
}
