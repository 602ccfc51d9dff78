"""Plants breaches in a small tree and expects check_layers.py to name each, and only these."""
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "check_layers.py")


def run(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        result = subprocess.run([sys.executable, SCRIPT, root], stdout=subprocess.PIPE, text=True, check=False)
        return result.returncode, result.stdout


class CheckLayersTest(unittest.TestCase):
    def expect_breach(self, path, text, line=1):
        code, output = run({path: text})
        self.assertEqual(code, 1, f"{path}: {text!r} passed")
        self.assertIn(f"{path}:{line}: ", output)

    def expect_clean(self, path, text):
        code, output = run({path: text})
        self.assertEqual(code, 0, output)

    def test_includes_follow_the_map(self):
        self.expect_clean("kernels/norm.cpp", '#include "base/tensor.h"\n#include "kernels/norm.h"\n')
        self.expect_clean("coordinator/a.cpp", '#include "parallel/plan/plan.h"\n')
        self.expect_clean("runtime/a.h", '#include "parallel/cluster.h"\n#include "parallel/plan/plan.h"\n')
        self.expect_clean("launcher/a.cpp", '#include "version.h"\n#include "runtime/a.h"\n')
        self.expect_clean("tests/kernels/a.cpp", '#include "kernels/norm.h"\n#include "coordinator/a.h"\n')
        self.expect_breach("kernels/a.cpp", '#include "base/tensor.h"\n\n#  include "parallel/cluster.h"\n', 3)
        self.expect_breach("coordinator/a.cpp", '#include "parallel/cluster.h"\n')
        self.expect_breach("coordinator/a.cpp", '#include "runtime/a.h"\n')
        self.expect_breach("runtime/a.cpp", '#include "coordinator/a.h"\n')
        self.expect_breach("parallel/plan/a.h", '#include "parallel/topology.h"\n')
        self.expect_breach("base/a.h", '#include "text/a.h"\n')
        self.expect_breach("base/a.h", '#include "tests/support/a.h"\n')
        self.expect_breach("base/a.h", '#include "tensor.h"\n')
        self.expect_breach("text/a.cpp", "#include <base/check.h>\n")

    def test_cuda_stays_in_its_places(self):
        self.expect_clean("base/device.cpp", "#if TRIREME_WITH_CUDA\n#include <cuda_runtime.h>\n#endif\n")
        self.expect_clean("kernels/cuda/norm.cu", "#include <cuda_bf16.h>\n")
        self.expect_clean("parallel/communicator_nccl.cpp", "#include <nccl.h>\n#include <cuda_runtime.h>\n")
        self.expect_clean("runtime/a.cpp", "// TRIREME_WITH_CUDA is no business of this file\n")
        self.expect_breach("runtime/a.cpp", "\n#if TRIREME_WITH_CUDA\n#endif\n", 2)
        self.expect_breach("kernels/norm.cpp", "#ifdef __CUDACC__\n#endif\n")
        self.expect_breach("runtime/a.cpp", "#include <cuda_runtime.h>\n")
        self.expect_breach("kernels/cuda/norm.cu", "#include <nccl.h>\n")

    def test_mpi_stays_in_parallel(self):
        self.expect_clean("parallel/cluster.cpp", "#include <mpi.h>\n")
        self.expect_clean("tests/support/rank_main.cpp", "#include <mpi.h>\n")
        self.expect_breach("launcher/a.cpp", "#include <mpi.h>\n")
        self.expect_breach("tests/runtime/a.cpp", "#include <mpi.h>\n")

    def test_an_empty_tree_is_no_success(self):
        self.assertEqual(run({})[0], 1)


if __name__ == "__main__":
    unittest.main()
