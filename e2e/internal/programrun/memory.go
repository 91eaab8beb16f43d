package programrun

// Memory is how much memory a process has, in bytes.
type Memory struct {
	// Resident is all of its memory that is in RAM.
	Resident int64
	// Anonymous is the part of it that no file backs: heap and stacks. The rest is
	// mostly the program itself, which the kernel can drop and read again.
	Anonymous int64
}
