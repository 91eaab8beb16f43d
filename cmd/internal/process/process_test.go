package process

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestALoggerTakesEveryLevelAndFormatThatAConfigurationMayName(t *testing.T) {
	t.Parallel()
	begins := map[string]string{"json": "{", "text": "time="}
	for _, format := range settings.LogFormats {
		for _, name := range settings.LogLevels {
			var level slog.Level
			if err := level.UnmarshalText([]byte(name)); err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			log := NewLogger(&text, settings.Log{Level: name, Format: format})
			if log.Log(t.Context(), level-1, "Too fine"); text.Len() > 0 {
				t.Errorf("%s, %s: logged below its level: %s", name, format, text.String())
			}
			if log.Log(t.Context(), level, "Said"); !strings.HasPrefix(text.String(), begins[format]) {
				t.Errorf("%s, %s: logged %q", name, format, text.String())
			}
		}
	}
}

func TestAccessAsksTheConnectionForSignsOfLife(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "30")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "15")
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://nowhere.invalid'}}]\n" +
		"contexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := Access(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "http://nowhere.invalid"; config.Host != want {
		t.Errorf("host %q, want %q", config.Host, want)
	}
	for name, want := range map[string]string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "5", "HTTP2_PING_TIMEOUT_SECONDS": "3"} {
		if got := os.Getenv(name); got != want { //nolint:forbidigo // It is what client-go reads.
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestAccessSaysWhatIsMissing(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "")
	missing := filepath.Join(t.TempDir(), "missing")
	for kubeconfig, want := range map[string]string{
		"":      "outside a pod, set --kubeconfig",
		missing: missing,
	} {
		if _, err := Access(kubeconfig); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kubeconfig %q: %v, want an error with %q", kubeconfig, err, want)
		}
	}
}

func TestServeAnswersUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	}()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || string(body) != "here" {
		t.Errorf("answered %q, %v", body, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String()); err == nil {
		t.Error("it listens after its end")
	}
}

func TestServeSaysThatItsListenerBroke(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := Serve(t.Context(), listener, http.NotFoundHandler()); err == nil || !strings.HasPrefix(err.Error(), "serving metrics and health: ") {
		t.Errorf("error %v", err)
	}
}

func TestTheRegistrySaysWhatRuns(t *testing.T) {
	t.Parallel()
	families, err := NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
		if family.GetName() != "ebbtide_build_info" {
			continue
		}
		for _, label := range family.GetMetric()[0].GetLabel() {
			if label.GetName() == "version" && label.GetValue() != Version() {
				t.Errorf("version %q, and --version says %q", label.GetValue(), Version())
			}
		}
	}
	all := strings.Join(names, " ")
	for _, name := range []string{"ebbtide_build_info", "go_goroutines", "process_start_time_seconds"} {
		if !strings.Contains(all, name) {
			t.Errorf("no %s in %s", name, all)
		}
	}
}

// The linker sets a variable that is not there without a word.
func TestTheMakefileSetsTheVersionThatIsThere(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	type here struct{}
	variable := reflect.TypeFor[here]().PkgPath() + ".version"
	_ = version // It is called so.
	for line := range strings.Lines(string(makefile)) {
		if strings.Contains(line, " -X ") && !strings.Contains(line, " -X "+variable+"=$(VERSION)") {
			t.Errorf("sets another variable than %s: %s", variable, line)
		}
	}
	if !strings.Contains(string(makefile), " -X "+variable+"=$(VERSION)") {
		t.Errorf("no program gets %s", variable)
	}
}
