package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

// NewLogger returns a logger that writes to to. The configuration has to be valid.
func NewLogger(to io.Writer, config settings.Log) *slog.Logger {
	var level slog.Level
	// Every name of settings.LogLevels is a level.
	_ = level.UnmarshalText([]byte(config.Level))
	options := &slog.HandlerOptions{Level: level}
	if config.Format == "text" {
		return slog.New(slog.NewTextHandler(to, options))
	}
	return slog.New(slog.NewJSONHandler(to, options))
}

// Access says how to reach the API server: by the file kubeconfig or, if that is
// empty, by the service account of the pod that the program runs in. It sets
// variables of the environment that client-go reads, and asks nobody anything.
func Access(kubeconfig string) (*rest.Config, error) {
	// The connection is asked for signs of life after five quiet seconds, not
	// thirty: an API server that is gone must not cost a third of a notice.
	// client-go reads this from the environment and nowhere else.
	for name, seconds := range map[string]string{
		"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "5", "HTTP2_PING_TIMEOUT_SECONDS": "3",
	} {
		if err := os.Setenv(name, seconds); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("reading the pod's service account (outside a pod, set --kubeconfig): %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", kubeconfig, err)
	}
	return config, nil
}

// Serve serves metrics and health on listener until ctx ends, and returns nil then. It
// closes the listener. It cuts off what is being answered: whoever asks, asks again.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics and health: %w", err)
	}
	return nil
}
