package programrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// standIn is a program that shows what a program should and does nothing.
const standIn = "github.com/ebbtide/ebbtide/e2e/internal/programrun/testdata/fakeprogram"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asStarter {
		startAndWait()
	}
	goleak.VerifyTestMain(Suite(m))
}

// asStarter makes this test binary start a program and wait to be killed.
const asStarter = "programrun-starter"

func startAndWait() {
	p, err := Start(context.Background(), Options{
		Name: "stand-in", Binary: os.Getenv("STAND_IN"), Dir: os.Getenv("DIR"), //nolint:forbidigo // The starter is a program of its own.
		Args: []string{"--listen", "127.0.0.1:0"},
	})
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprintln(os.Stdout, p.PID())
	select {}
}

func start(t *testing.T) *Program {
	t.Helper()
	p, err := Start(t.Context(), optionsFor(t))
	if err != nil {
		t.Fatal(err)
	}
	Guard(t, p, "the stand-in")
	return p
}

func optionsFor(t *testing.T) Options {
	t.Helper()
	return Options{Name: "stand-in", Binary: Binary(t, standIn, Race), Dir: t.TempDir(), Args: []string{"--listen", "127.0.0.1:0"}}
}

func TestALogIsReadFromItsBeginningAndToItsEnd(t *testing.T) {
	t.Parallel()
	p := start(t)
	if _, err := p.WaitLog(t.Context(), "Started"); err != nil {
		t.Fatal(err)
	}
	if err := p.Terminate(); err != nil {
		t.Fatal(err)
	}
	var messages []string
	for record := range p.Log(t.Context()) {
		messages = append(messages, record.Message)
	}
	if want := []string{"Listening", "Started", "Stopped"}; !slices.Equal(messages, want) {
		t.Errorf("read %q, want %q", messages, want)
	}
	if !strings.Contains(p.Output(), "a line that is no record\n") {
		t.Errorf("the output lacks a line: %q", p.Output())
	}
	records := p.Records()
	var count int
	if err := records[1].Decode("count", &count); err != nil || count != 7 {
		t.Errorf("count is %d, %v; want 7", count, err)
	}
	if err := records[1].Decode("nothing", &count); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
	if code, err := p.Wait(t.Context()); err != nil || code != 4 {
		t.Errorf("exit code %d, %v; want 4", code, err)
	}
}

func TestWaitingForALineThatCannotComeEndsWithTheProgram(t *testing.T) {
	t.Parallel()
	p := start(t)
	waited := make(chan error)
	go func() {
		_, err := p.WaitLog(t.Context(), "Never")
		waited <- err
	}()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, errEnded) {
		t.Errorf("waiting ended with %v", err)
	}
	if code, err := p.Wait(t.Context()); err != nil || code != -1 {
		t.Errorf("exit code %d, %v; want -1 for a signal", code, err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
}

func TestAProgramThatEndsBeforeItListensSaysWhy(t *testing.T) {
	t.Parallel()
	options := optionsFor(t)
	options.Args = append(options.Args, "--fail")
	_, err := Start(t.Context(), options)
	if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "nothing works today") {
		t.Errorf("starting ended with %v", err)
	}
}

func TestReadinessIsWaitedForAndMetricsAreRead(t *testing.T) {
	t.Parallel()
	p := start(t)
	if err := p.WaitReadyz(t.Context(), func(code int, body string) bool {
		return code == http.StatusServiceUnavailable && body == "blind"
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	metrics, err := p.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{`pods_total{kind="x", path="Lost"}`: 2, "up": 1}, metrics); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestWaitingForReadinessEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.WaitReadyz(ctx, func(int, string) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting ended with %v", err)
	}
}

func TestAConfigurationIsCheckedWithoutARun(t *testing.T) {
	t.Parallel()
	program := Binary(t, standIn, Race)
	got, err := Check(t.Context(), program, []string{"A=b"}, "--node-name=spot-1")
	if err != nil {
		t.Fatal(err)
	}
	want := Checked{ExitCode: 2, Stdout: "node spot-1 environment [A=b]\n", Stderr: "no good\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := Check(t.Context(), program, nil, "--check-config=false"); err == nil {
		t.Errorf("the program was started instead: %+v", got)
	}
	if got, err := Check(t.Context(), "/no/such/program", nil); err == nil {
		t.Errorf("a program that is not there ended with %+v", got)
	}
}

func TestAProgramThatIsPausedAnswersNobodyUntilItGoesOn(t *testing.T) {
	t.Parallel()
	p := start(t)
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	// The kernel stops its threads when each of them comes by, which on a busy machine can be
	// after the next request.
	answers := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, _, err := p.Healthz(ctx)
		return !errors.Is(err, context.DeadlineExceeded)
	}
	for until := time.Now().Add(10 * time.Second); answers(); {
		if time.Now().After(until) {
			t.Fatal("a paused program goes on answering")
		}
	}
	if answers() {
		t.Error("a paused program has answered again")
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killing a paused program: %v", err)
	}
}

func TestAProgramOfOnePackageIsBuiltOnce(t *testing.T) {
	t.Parallel()
	if first, second := Binary(t, standIn, Race), Binary(t, standIn, Race); first != second {
		t.Errorf("built %q and %q", first, second)
	}
}
