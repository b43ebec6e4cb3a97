"""Two ranks of PyTorch's DistributedDataParallel on CPU, over gloo; for Debian's Python, which imports nothing of ours."""

import json

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

ROWS, STEPS, RATE = 64, 60, 0.1


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """The same for every rank: four columns, and a label that is a sum of them."""
    made = torch.Generator().manual_seed(7)
    columns = torch.randn(ROWS, 4, generator=made)
    return columns, columns @ torch.tensor([1.0, -2.0, 3.0, 0.5])


def main() -> None:
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    columns, label = rows()
    mine = slice(rank * ROWS // size, (rank + 1) * ROWS // size)
    layer = torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    model = DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(columns[mine]).squeeze(1), label[mine]).backward()
        optimizer.step()
    print(json.dumps({"rank": rank, "size": size, "weights": layer.weight.detach().flatten().tolist()}), flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
