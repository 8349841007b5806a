"""Training of the small policy. Reads input folders that `drivewam world --out` wrote; renders nothing."""
