// Package image builds the image that the chart installs, from the repository's own
// Dockerfile, and reads what came of it. It needs buildah, and leaves nothing behind
// but the archive that it was asked for.
package image
